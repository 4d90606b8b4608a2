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

// render returns the page of a document and its Content-Security-Policy, which allows only the page's style sheet, by
// its hash. It panics on errors, because document and templates are embedded and covered by tests.
func render(document []byte) (page []byte, policy string) {
	var m model
	if err := json.Unmarshal(document, &m); err != nil {
		panic(fmt.Sprintf("openapi: parse the embedded document: %v", err))
	}
	var out bytes.Buffer
	if err := template.Must(template.New("page").Funcs(m.functions()).Parse(layout)).Execute(&out, m); err != nil {
		panic(fmt.Sprintf("openapi: render the embedded document: %v", err))
	}
	hash := sha256.Sum256([]byte(style))
	return out.Bytes(), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// A renderedOperation is an operation with its method, its path and resolved references.
type renderedOperation struct {
	Method, Path string
	*operation
	Parameters []*parameter
	Responses  ordered[*response]
}

func (m *model) functions() template.FuncMap {
	return template.FuncMap{
		"operations": m.operations, "values": values, "prose": paragraphs, "kind": typeName,
		"indented": formatExample,
		"style":    func() template.CSS { return template.CSS(style) },
	}
}

// operations returns the operations of a tag, in the order of the document.
func (m *model) operations(tag string) (all []renderedOperation, err error) {
	for _, item := range m.Paths {
		for _, o := range []renderedOperation{{Method: "GET", operation: item.Value.Get},
			{Method: "POST", operation: item.Value.Post}, {Method: "DELETE", operation: item.Value.Delete}} {
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

// resolve sets the parameters and responses of the operation, with references resolved. common are the parameters of
// its path.
func (m *model) resolve(o *renderedOperation, common []*parameter) (err error) {
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

// typeName returns a short description of a schema's type, with links to the named schemas.
func typeName(s *schema) template.HTML {
	switch {
	case s.Ref != "":
		name := html.EscapeString(path.Base(s.Ref))
		return template.HTML(`<a href="#` + name + `">` + name + `</a>`)
	case s.Enum != nil:
		return values(s.Enum) + orNull(s)
	case s.Items != nil:
		return "list of " + typeName(s.Items) + orNull(s)
	case s.Type == "":
		return "any JSON"
	}
	text := html.EscapeString(s.Type)
	if s.Format != "" {
		text += " (" + html.EscapeString(s.Format) + ")"
	}
	return template.HTML(text) + orNull(s)
}

func orNull(s *schema) template.HTML {
	if s.Nullable {
		return " or null"
	}
	return ""
}

// values returns JSON values as code.
func values(list []json.RawMessage) template.HTML {
	var parts []string
	for _, value := range list {
		parts = append(parts, "<code>"+html.EscapeString(string(value))+"</code>")
	}
	return template.HTML(strings.Join(parts, " or "))
}

var code = regexp.MustCompile("`([^`]*)`")

// paragraphs returns a description as HTML. Blank lines separate paragraphs, and backquotes enclose code.
func paragraphs(text string) template.HTML {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		out.WriteString("<p>" + code.ReplaceAllString(html.EscapeString(paragraph), "<code>$1</code>") + "</p>\n")
	}
	return template.HTML(out.String())
}

// formatExample returns an example as indented JSON. An example that is a string (of another format) is returned
// unchanged.
func formatExample(text json.RawMessage) (string, error) {
	if bytes.HasPrefix(text, []byte(`"`)) {
		var plain string
		err := json.Unmarshal(text, &plain)
		return plain, err
	}
	var out bytes.Buffer
	err := json.Indent(&out, text, "", "  ")
	return out.String(), err
}
