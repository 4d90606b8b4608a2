package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the template and the style of the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	//go:embed page.html
	layout string
	//go:embed page.css
	style string
)

// render makes the page of a document, and the policy under which a browser may show it: its one style sheet, named by its hash,
// and nothing else. What is built in is sound, or a test fails; so an error here is a panic.
func render(document []byte) (page []byte, policy string) {
	var m model
	if err := json.Unmarshal(document, &m); err != nil {
		panic(fmt.Sprintf("the built-in document: %v", err))
	}
	var out bytes.Buffer
	if err := template.Must(template.New("page").Funcs(m.functions()).Parse(layout)).Execute(&out, m); err != nil {
		panic(fmt.Sprintf("the page of the built-in document: %v", err))
	}
	hash := sha256.Sum256([]byte(style))
	return out.Bytes(), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// shown is an operation with its method and path, its references resolved.
type shown struct {
	Method, Path string
	*operation
	Parameters []*parameter
	Responses  ordered[*response]
}

func (m *model) functions() template.FuncMap {
	return template.FuncMap{
		"operations": m.operations, "properties": properties, "prose": prose, "kind": kind, "indented": indented,
		"style": func() template.CSS { return template.CSS(style) },
	}
}

// operations are those of a tag, in the order of the document.
func (m *model) operations(tag string) (all []shown, err error) {
	for _, item := range m.Paths {
		for _, o := range []shown{{Method: "GET", operation: item.Value.Get}, {Method: "POST", operation: item.Value.Post}, {Method: "DELETE", operation: item.Value.Delete}} {
			if o.operation == nil || !slices.Contains(o.Tags, tag) {
				continue
			}
			o.Path = item.Name
			if err := m.resolve(&o, item.Value.Parameters); err != nil {
				return nil, err
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// resolve puts what references mean into the operation; common are the parameters of its path.
func (m *model) resolve(o *shown, common []*parameter) (err error) {
	for _, p := range slices.Concat(common, o.operation.Parameters) {
		if p.Ref != "" {
			if p, err = m.Components.Parameters.at(p.Ref); err != nil {
				return err
			}
		}
		o.Parameters = append(o.Parameters, p)
	}
	for _, r := range o.operation.Responses {
		if r.Value.Ref != "" {
			if r.Value, err = m.Components.Responses.at(r.Value.Ref); err != nil {
				return err
			}
		}
		o.Responses = append(o.Responses, r)
	}
	return nil
}

// properties are a schema's own and those of the nameless parts of its allOf; the named parts are linked.
func properties(s *schema) ordered[*schema] {
	all := slices.Clone(s.Properties)
	for _, part := range s.AllOf {
		all = append(all, part.Properties...)
	}
	return all
}

// kind says in a few words what a value is, with links to the schemas it names.
func kind(s *schema) template.HTML {
	words := func(separator string, schemas []*schema) template.HTML {
		var parts []string
		for _, part := range schemas {
			if len(part.Properties) == 0 {
				parts = append(parts, string(kind(part)))
			}
		}
		return template.HTML(strings.Join(parts, separator))
	}
	values := func(values ...json.RawMessage) template.HTML {
		var parts []string
		for _, value := range values {
			parts = append(parts, "<code>"+html.EscapeString(string(value))+"</code>")
		}
		return template.HTML(strings.Join(parts, " or "))
	}
	switch {
	case s.Ref != "":
		name := html.EscapeString(path.Base(s.Ref))
		return template.HTML(`<a href="#` + name + `">` + name + `</a>`)
	case s.OneOf != nil:
		return words(" or ", s.OneOf)
	case s.AllOf != nil:
		return words(" and ", s.AllOf)
	case s.Const != nil:
		return values(s.Const)
	case s.Enum != nil:
		return values(s.Enum...)
	case s.Items != nil:
		return "list of " + kind(s.Items)
	case s.Type == nil:
		return "any JSON"
	}
	text := html.EscapeString(strings.Join(s.Type, " or "))
	if s.Format != "" {
		text += " (" + html.EscapeString(s.Format) + ")"
	}
	return template.HTML(text)
}

var code = regexp.MustCompile("`([^`]*)`")

// prose shows a description: blank lines part paragraphs, and backquotes hold code.
func prose(text string) template.HTML {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		out.WriteString("<p>" + code.ReplaceAllString(html.EscapeString(paragraph), "<code>$1</code>") + "</p>\n")
	}
	return template.HTML(out.String())
}

// indented shows an example: JSON with its structure, and a text, as of other formats, as it is.
func indented(text json.RawMessage) (string, error) {
	if bytes.HasPrefix(text, []byte(`"`)) {
		var plain string
		err := json.Unmarshal(text, &plain)
		return plain, err
	}
	var out bytes.Buffer
	err := json.Indent(&out, text, "", "  ")
	return out.String(), err
}
