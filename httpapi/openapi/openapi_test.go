package openapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pb33f/jsonschema/v6"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/httpapi/openapi"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDocument_IsValid(t *testing.T) {
	document, err := libopenapi.NewDocument(openapi.JSON())
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if valid, faults := v.ValidateDocument(); !valid {
		for _, fault := range faults {
			t.Error(fault)
		}
	}
}

// A node is an object of the document with its JSON pointer.
type node struct {
	at     string
	object map[string]any
}

// nodes returns all objects of the document, except those in examples and defaults.
func nodes(t *testing.T) (all []node) {
	t.Helper()
	var walk func(at string, value any)
	walk = func(at string, value any) {
		switch value := value.(type) {
		case map[string]any:
			all = append(all, node{at, value})
			for name, member := range value {
				if !slices.Contains([]string{"example", "examples", "default"}, name) {
					walk(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), member)
				}
			}
		case []any:
			for i, member := range value {
				walk(fmt.Sprint(at, "/", i), member)
			}
		}
	}
	contract, err := openapitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(contract, &document); err != nil {
		t.Fatal(err)
	}
	walk("#", document)
	return all
}

func (n node) isSchema() bool {
	parts := strings.Split(n.at, "/")
	within := slices.Contains(parts, "schema") || strings.HasPrefix(n.at, "#/components/schemas/")
	return within && !slices.Contains([]string{"schemas", "properties"}, parts[len(parts)-1])
}

// Each named part of the document has a description.
func TestDocument_EverythingIsDescribed(t *testing.T) {
	count := 0
	for _, n := range nodes(t) {
		parts := strings.Split(n.at, "/")
		if _, isReference := n.object["$ref"]; isReference || len(parts) < 3 ||
			strings.Contains(n.at, "/schema/properties/") { // what a contract adds to a reference
			continue
		}
		if slices.ContainsFunc(parts, func(part string) bool { return part == "if" || part == "then" || part == "else" }) {
			continue
		}
		required := []string{"description"}
		switch parts[len(parts)-2] {
		case "properties": // a reference among them says what it is for
		case "parameters", "headers", "responses", "schemas", "tags", "securitySchemes", "servers":
			if n.object["$ref"] != nil {
				continue
			}
		default:
			if n.object["operationId"] == nil {
				continue
			}
			required = append(required, "summary")
		}
		for _, name := range required {
			if text, _ := n.object[name].(string); text == "" {
				t.Errorf("%s: got no %s", n.at, name)
			}
			count++
		}
	}
	if count < 150 {
		t.Errorf("got only %d parts that need a description", count)
	}
}

// No field of a response may be missing, unless its description begins with when it is present. Query is excluded,
// because clients send it. The rows of lists are excluded, because the contract requires their fields.
func TestDocument_EveryFieldIsRequired(t *testing.T) {
	for _, n := range nodes(t) {
		properties, ok := n.object["properties"].(map[string]any)
		if !ok || !n.isSchema() || n.object["type"] != "object" || n.at == "#/components/schemas/Query" {
			continue
		}
		for name := range properties {
			text, _ := properties[name].(map[string]any)["description"].(string)
			required, _ := n.object["required"].([]any)
			if !slices.Contains(required, any(name)) && !strings.HasPrefix(text, "Only ") &&
				n.object["if"] == nil && properties[name].(map[string]any)["$ref"] == nil {
				t.Errorf("%s: got %s optional, want required", n.at, name)
			}
		}
	}
}

// Examples are valid by their schemas.
func TestDocument_ExamplesAreValid(t *testing.T) {
	contract, err := openapitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(contract))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("file:///openapi.json", document); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, n := range nodes(t) {
		var examples []any
		schema := n.at
		if n.isSchema() {
			if value, ok := n.object["example"]; ok {
				examples = append(examples, value)
			}
			if value, ok := n.object["default"]; ok {
				examples = append(examples, value)
			}
		} else if _, ok := n.object["schema"]; ok {
			schema += "/schema"
			if value, ok := n.object["example"]; ok {
				examples = append(examples, value)
			}
			several, _ := n.object["examples"].(map[string]any)
			for _, example := range several {
				examples = append(examples, example.(map[string]any)["value"])
			}
		}
		for _, example := range examples {
			compiled, err := compiler.Compile("file:///openapi.json" + schema)
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(example); err != nil {
				t.Errorf("%s: %v", n.at, err)
			}
			count++
		}
	}
	if count < 100 {
		t.Errorf("got only %d examples", count)
	}
}

func get(t *testing.T, handler http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if recorder.Code != http.StatusOK || recorder.Header().Get("Content-Length") != strconv.Itoa(recorder.Body.Len()) {
		t.Errorf("got status %d and headers %v", recorder.Code, recorder.Header())
	}
	return recorder
}

func TestDocument_IsServed(t *testing.T) {
	answer := get(t, openapi.Document())
	if answer.Header().Get("Content-Type") != "application/json" || !bytes.Equal(answer.Body.Bytes(), openapi.JSON()) {
		t.Errorf("got headers %v", answer.Header())
	}
}

// The page needs no other resources and shows all of the document.
func TestPage_NeedsNoOtherResourcesAndShowsTheWholeDocument(t *testing.T) {
	answer := get(t, openapi.Page())
	page := answer.Body.String()
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	if policy := answer.Header().Get("Content-Security-Policy"); answer.Header().Get("Content-Type") !=
		"text/html; charset=utf-8" ||
		!strings.HasPrefix(policy,
			"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'; ") {
		t.Errorf("got headers %v", answer.Header())
	}
	for _, active := range []string{"<script", "<link", "<img", "<iframe", "<form", " src=", " style=", " onclick=",
		"url(", "@import", "javascript:", "ZgotmplZ"} {
		if strings.Contains(page, active) {
			t.Errorf("got %s in the page", active)
		}
	}
	for _, route := range openapitest.Routes() {
		if !strings.Contains(page, `<code class="call">`+route+"</code>") {
			t.Errorf("got a page without %s", route)
		}
	}
	for _, n := range nodes(t) {
		if parts := strings.Split(n.at,
			"/"); len(parts) == 4 && (parts[2] == "schemas" || parts[2] == "headers") &&
			!strings.Contains(page, `id="`+parts[3]+`"`) {
			t.Errorf("got a page without %s", n.at)
		}
		shown := strings.HasPrefix(n.at, "#/components/") && !strings.HasPrefix(n.at, "#/components/responses/") ||
			n.object["operationId"] != nil
		if text, ok := n.object["description"].(string); ok && shown && !strings.ContainsAny(text, "`'\"<>&\n") &&
			!strings.Contains(page, text) {
			t.Errorf("got a page without %q", text)
		}
	}
	for link := range strings.SplitSeq(page, ` href="#`) {
		if name, _, found := strings.Cut(link,
			`"`); found && !strings.HasPrefix(link, "<!doctype") && !strings.Contains(page, ` id="`+name+`"`) {
			t.Errorf("got a link to %s, which does not exist", name)
		}
	}
}
