package openapitest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/helpers"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/pb33f/libopenapi/orderedmap"
)

// Check reports a test error for each difference between a response and the document: its status, headers, content type
// and body. If the status is a success, it also checks the request. body is the decompressed body of the response; of
// NDJSON only the first line is checked.
//
// Requests that are not operations of the document are checked against components: OPTIONS against Options, other
// methods against MethodNotAllowed, and unknown paths against NotFound. Check is safe for concurrent use.
func Check(t testing.TB, request *http.Request, response *http.Response, body []byte) {
	t.Helper()
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range c.faults(request, response, body) {
		t.Errorf("%s %s, status %d: %s", request.Method, request.URL.RequestURI(), response.StatusCode, fault)
	}
}

// Routes returns the operations of the document, such as "GET /api/v1/calls/{id}", in its order, without HEAD and
// OPTIONS.
func Routes() []string {
	c, err := load()
	if err != nil {
		panic(err) // the document is embedded and covered by a test
	}
	var routes []string
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().KeysFromOldest() {
			routes = append(routes, strings.ToUpper(method)+" "+path)
		}
	}
	return routes
}

// A contract is the parsed document with its validator.
type contract struct {
	model *v3.Document
	validator.Validator
}

var load = sync.OnceValues(func() (*contract, error) {
	text, err := Contract()
	if err != nil {
		return nil, err
	}
	return read(text)
})

func read(text []byte) (*contract, error) {
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("build the model of the document: %w", err)
	}
	v, faults := validator.NewValidator(document, config.WithFormatAssertions())
	if len(faults) > 0 {
		return nil, fmt.Errorf("compile the document: %w", faults[0])
	}
	return &contract{&model.Model, v}, nil
}

// faults returns the differences between a response and the document.
func (c *contract) faults(request *http.Request, response *http.Response, body []byte) (faults []string) {
	path, item, operation := c.findOperation(request)
	described := operation.Responses.Codes.GetOrZero(strconv.Itoa(response.StatusCode))
	if described == nil {
		return []string{"the document does not describe this status"}
	}
	if path != "" && response.StatusCode < 300 {
		faults = append(faults, c.requestFaults(withoutEmpty(request), operation, item, path)...)
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/x-ndjson") &&
		request.Method != http.MethodHead {
		if body, _, _ = bytes.Cut(body, []byte("\n")); len(body) == 0 {
			body = []byte("{}") // an empty NDJSON body is valid
		}
	}
	answer := *response
	answer.Body = http.NoBody
	if len(body) > 0 {
		answer.Body = io.NopCloser(bytes.NewReader(body))
		if orderedmap.Len(described.Content) == 0 {
			faults = append(faults, "the document describes no body here")
		}
	}
	if path == "" && request.Method != http.MethodHead { // a placeholder has only a GET
		request = request.Clone(request.Context())
		request.Method = http.MethodGet
	}
	_, errs := c.GetResponseBodyValidator().ValidateResponseBodyWithPathItem(request, &answer, item, path)
	faults = append(faults, messages(errs)...)
	for name := range response.Header {
		if !isTransport(name) && !hasHeader(described, name) {
			faults = append(faults, "the document does not describe the header "+name)
		}
	}
	return faults
}

// requestFaults checks the parameters, headers, credentials and the content type of a request. It does not check the
// body, which has been read and may be compressed.
func (c *contract) requestFaults(
	request *http.Request,
	operation *v3.Operation,
	item *v3.PathItem,
	path string,
) (faults []string) {
	v := c.GetParameterValidator()
	type check func(*http.Request, *v3.PathItem, string) (bool, []*errors.ValidationError)
	for _, check := range []check{v.ValidatePathParamsWithPathItem,
		v.ValidateQueryParamsWithPathItem, v.ValidateHeaderParamsWithPathItem, v.ValidateSecurityWithPathItem} {
		_, errs := check(request, item, path)
		faults = append(faults, messages(errs)...)
	}
	contentType, _, _ := strings.Cut(request.Header.Get("Content-Type"), ";")
	if body := operation.RequestBody; body != nil && body.Content.GetOrZero(contentType) == nil {
		faults = append(faults, "the document describes no body of the type "+contentType)
	}
	return faults
}

// findOperation returns the operation of a request and its path. If the document has no such operation, it returns a
// placeholder with the only possible response, and an empty path.
func (c *contract) findOperation(request *http.Request) (string, *v3.PathItem, *v3.Operation) {
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		if !matches(path, strings.TrimSuffix(request.URL.Path, "/")) {
			continue
		}
		if operation := helpers.ExtractOperation(request, item); operation != nil { // for HEAD it returns the GET operation
			return path, item, operation
		}
		if request.Method == http.MethodOptions {
			return c.placeholder(http.StatusNoContent, "Options")
		}
		return c.placeholder(http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
	return c.placeholder(http.StatusNotFound, "NotFound")
}

// placeholder returns an operation whose only response is the named component.
func (c *contract) placeholder(status int, component string) (string, *v3.PathItem, *v3.Operation) {
	codes := orderedmap.New[string, *v3.Response]()
	codes.Set(strconv.Itoa(status), c.model.Components.Responses.GetOrZero(component))
	operation := &v3.Operation{Responses: &v3.Responses{Codes: codes}}
	return "", &v3.PathItem{Get: operation}, operation
}

// matches reports whether a path matches a template, as the router does: part by part, {name} for any text that is not
// empty.
func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if strings.HasPrefix(want[i], "{") && got[i] != "" {
			continue
		}
		if want[i] != got[i] {
			return false
		}
	}
	return true
}

// withoutEmpty returns the request without query parameters that have no value, because the server ignores those.
func withoutEmpty(request *http.Request) *http.Request {
	request = request.Clone(request.Context())
	query := request.URL.Query()
	for name, values := range query {
		if strings.Join(values, "") == "" {
			query.Del(name)
		}
	}
	request.URL.RawQuery = query.Encode()
	return request
}

func messages(errs []*errors.ValidationError) (all []string) {
	for _, e := range errs {
		text := e.Message + ": " + e.Reason
		for _, detail := range e.SchemaValidationErrors {
			text += fmt.Sprintf("\n\t%s %s (%s)", detail.FieldPath, detail.Reason, detail.KeywordLocation)
		}
		all = append(all, text)
	}
	return all
}

// isTransport reports whether a header belongs to HTTP or CORS and not to the API.
func isTransport(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Date":
		return true
	}
	return strings.HasPrefix(name, "Access-Control-")
}

func hasHeader(response *v3.Response, name string) bool {
	for described := range response.Headers.KeysFromOldest() {
		if http.CanonicalHeaderKey(described) == name {
			return true
		}
	}
	return false
}
