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

	"github.com/voicory/warehouse/httpapi/openapi"
)

// Check fails the test where one exchange is not as the document has it: the status, the headers with their values, the content
// type and the body of the answer, and, where it is a success, the request too. body is what was read of the answer, decompressed; of NDJSON the first line is looked at.
//
// What is no operation is held to the components that describe it: OPTIONS to Options, other methods to MethodNotAllowed, and
// paths that the document does not have to NotFound. It may be called by many goroutines at once.
func Check(t testing.TB, request *http.Request, response *http.Response, body []byte) {
	t.Helper()
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range c.faults(request, response, body) {
		t.Errorf("%s %s, answered %d: %s", request.Method, request.URL.RequestURI(), response.StatusCode, fault)
	}
}

// Routes are the operations of the document, such as "GET /api/v1/calls/{id}", in its order. HEAD, which goes with each GET, is
// not among them, nor is OPTIONS.
func Routes() []string {
	c, err := load()
	if err != nil {
		panic(err) // the document is built in, and has a test
	}
	var routes []string
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().KeysFromOldest() {
			routes = append(routes, strings.ToUpper(method)+" "+path)
		}
	}
	return routes
}

// contract is the document, ready to be asked.
type contract struct {
	model *v3.Document
	validator.Validator
}

var load = sync.OnceValues(func() (*contract, error) { return read(openapi.JSON()) })

func read(text []byte) (*contract, error) {
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("understand the document: %w", err)
	}
	v, faults := validator.NewValidator(document, config.WithFormatAssertions())
	if len(faults) > 0 {
		return nil, fmt.Errorf("compile the document: %w", faults[0])
	}
	return &contract{&model.Model, v}, nil
}

func (c *contract) faults(request *http.Request, response *http.Response, body []byte) (faults []string) {
	path, item, operation := c.find(request)
	described := operation.Responses.Codes.GetOrZero(strconv.Itoa(response.StatusCode))
	if described == nil {
		return []string{"the document has no such status"}
	}
	if path != "" && response.StatusCode < 300 {
		faults = append(faults, c.faultsOfRequest(withoutEmpty(request), operation, item, path)...)
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/x-ndjson") && request.Method != http.MethodHead {
		if body, _, _ = bytes.Cut(body, []byte("\n")); len(body) == 0 {
			body = []byte("{}") // no line is no fault
		}
	}
	answer := *response
	answer.Body = http.NoBody
	if len(body) > 0 {
		answer.Body = io.NopCloser(bytes.NewReader(body))
		if orderedmap.Len(described.Content) == 0 {
			faults = append(faults, "the document has no body here")
		}
	}
	if path == "" && request.Method != http.MethodHead { // a stand-in has a GET alone
		request = request.Clone(request.Context())
		request.Method = http.MethodGet
	}
	_, errs := c.GetResponseBodyValidator().ValidateResponseBodyWithPathItem(request, &answer, item, path)
	faults = append(faults, texts(errs)...)
	for name := range response.Header {
		if !isTransport(name) && !hasHeader(described, name) {
			faults = append(faults, "the document has no header "+name+" here")
		}
	}
	return faults
}

// faultsOfRequest looks at all of a request but its body, of which it looks at the type: the rest was read and may be compressed.
func (c *contract) faultsOfRequest(request *http.Request, operation *v3.Operation, item *v3.PathItem, path string) (faults []string) {
	v := c.GetParameterValidator()
	for _, check := range []func(*http.Request, *v3.PathItem, string) (bool, []*errors.ValidationError){v.ValidatePathParamsWithPathItem,
		v.ValidateQueryParamsWithPathItem, v.ValidateHeaderParamsWithPathItem, v.ValidateSecurityWithPathItem} {
		_, errs := check(request, item, path)
		faults = append(faults, texts(errs)...)
	}
	contentType, _, _ := strings.Cut(request.Header.Get("Content-Type"), ";")
	if body := operation.RequestBody; body != nil && body.Content.GetOrZero(contentType) == nil {
		faults = append(faults, "the document has no body of the type "+contentType)
	}
	return faults
}

// find is the operation that describes the answer and the path it belongs to; for what is no operation, a stand-in that has the
// one answer such a request gets, and no path.
func (c *contract) find(request *http.Request) (string, *v3.PathItem, *v3.Operation) {
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		if !matches(path, request.URL.Path) {
			continue
		}
		if operation := helpers.ExtractOperation(request, item); operation != nil { // that of HEAD is GET's
			return path, item, operation
		}
		if request.Method == http.MethodOptions {
			return c.standIn(http.StatusNoContent, "Options")
		}
		return c.standIn(http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
	return c.standIn(http.StatusNotFound, "NotFound")
}

func (c *contract) standIn(status int, component string) (string, *v3.PathItem, *v3.Operation) {
	codes := orderedmap.New[string, *v3.Response]()
	codes.Set(strconv.Itoa(status), c.model.Components.Responses.GetOrZero(component))
	operation := &v3.Operation{Responses: &v3.Responses{Codes: codes}}
	return "", &v3.PathItem{Get: operation}, operation
}

// matches compares a path as the router does: part by part, where {name} stands for any text but none.
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

// withoutEmpty is the request without the parameters that have no value: they count as not given.
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

func texts(errs []*errors.ValidationError) (all []string) {
	for _, e := range errs {
		text := e.Message + ": " + e.Reason
		for _, detail := range e.SchemaValidationErrors {
			text += fmt.Sprintf("\n\t%s %s (%s)", detail.FieldPath, detail.Reason, detail.KeywordLocation)
		}
		all = append(all, text)
	}
	return all
}

// isTransport tells headers that HTTP and its servers, not the API, give to answers.
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
