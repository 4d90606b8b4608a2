package httpapi_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// operation is a GET operation of the OpenAPI document with its query parameters.
type operation struct {
	path       string
	parameters []string
	enums      map[string][]string // allowed values, for parameters that have a list
}

// operations returns the GET operations of the document. Placeholders of their paths have values that exist.
func operations(t *testing.T) (all []operation) {
	t.Helper()
	text, err := os.ReadFile("openapi/openapi.json")
	noError(t, err)
	type parameter struct {
		Ref    string `json:"$ref"`
		Name   string
		In     string
		Schema struct{ Enum []any }
	}
	var document struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Parameters map[string]parameter }
	}
	noError(t, json.Unmarshal(text, &document))
	for path, methods := range document.Paths {
		var get struct{ Parameters []parameter }
		if methods["get"] == nil {
			continue
		}
		noError(t, json.Unmarshal(methods["get"], &get))
		var shared []parameter
		if methods["parameters"] != nil {
			noError(t, json.Unmarshal(methods["parameters"], &shared))
		}
		op := operation{path: strings.NewReplacer("{id}", id(1), "{dataset}", "calls", "{name}",
			"none.parquet").Replace(path),
			enums: map[string][]string{}}
		for _, p := range append(shared, get.Parameters...) {
			if p.Ref != "" {
				p = document.Components.Parameters[p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]]
			}
			if p.In != "query" {
				continue
			}
			op.parameters = append(op.parameters, p.Name)
			for _, value := range p.Schema.Enum {
				if text, ok := value.(string); ok {
					op.enums[p.Name] = append(op.enums[p.Name], text)
				}
			}
		}
		slices.Sort(op.parameters)
		all = append(all, op)
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path, b.path) })
	return all
}

// hostile are values that parsers, limits and computations with bounds have failed on.
var hostile = []string{"", "\x00", "\xff", "'; DROP TABLE calls; --", "-1", "0", "1", "9223372036854775807",
	"9223372036854775808", "1e309", "NaN",
	strings.Repeat("9", 400), "%", "😀", "true", "null", "../../etc", id(1), "UTC", "Asia/Kolkata", "America/St_Johns",
	"previous_period",
	"0001-01-01", "0001-01-01T00:00:00+14:00", "0001-01-02", "1969-12-31", "2026-02-30", "2026-04-18T24:00:00",
	"9999-12-31", "9999-12-31T23:59:59.999999-14:00", "10000-01-01"}

// No value of any parameter of any operation is an error of the server, alone or together with others.
func TestParameters_NeverCauseServerErrors(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	r := rand.New(rand.NewPCG(7, 26))
	// A parameter of several operations has one parser: each value is tried with one of them.
	uses, turn := map[string]int{}, map[string]int{}
	for _, op := range operations(t) {
		for _, name := range op.parameters {
			uses[name]++
		}
	}
	for _, op := range operations(t) {
		t.Run(op.path, func(t *testing.T) {
			check := func(values url.Values) {
				t.Helper()
				if slices.Contains(op.parameters, "limit") && !values.Has("limit") {
					values.Set("limit", "1") // so that there is a next page
				}
				request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, op.path+"?"+values.Encode(), nil)
				request.Header.Set("X-Api-Key", b.secret)
				answer := httptest.NewRecorder()
				b.Config.Handler.ServeHTTP(answer, request)
				if answer.Code >= 500 || answer.Code >= 400 && code(answer.Body.String()) == "" {
					t.Errorf("%s: got %d %s", request.URL, answer.Code, answer.Body)
				}
			}
			for _, name := range op.parameters {
				for i, value := range hostile {
					if (i+turn[name])%uses[name] == 0 {
						check(url.Values{name: {value}})
					}
				}
				turn[name]++
			}
			if len(op.parameters) < 2 {
				return
			}
			for range 12 {
				values := url.Values{}
				for range 1 + r.IntN(4) {
					name := op.parameters[r.IntN(len(op.parameters))]
					pool := append(slices.Clone(op.enums[name]), hostile[r.IntN(len(hostile))])
					values.Set(name, pool[r.IntN(len(pool))])
				}
				if slices.Contains(op.parameters, "to") && r.IntN(2) == 0 { // two bounds from which others are computed
					days := hostile[len(hostile)-9:]
					values.Set("from", days[r.IntN(len(days))])
					values.Set("to", days[r.IntN(len(days))])
					if slices.Contains(op.parameters, "compare") {
						values.Set("compare", "previous_period")
					}
				}
				check(values)
			}
		})
	}
}

// A parameter that is given twice, or that exports and analytics do not have, is an error instead of being ignored.
func TestParameters_RepeatedAndUnknown(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	get := func(target string) (int, string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		request.Header.Set("X-Api-Key", b.secret)
		answer := httptest.NewRecorder()
		b.Config.Handler.ServeHTTP(answer, request)
		return answer.Code, answer.Body.String()
	}
	for _, op := range operations(t) {
		if !strings.HasPrefix(op.path, "/api/v1/") {
			continue
		}
		for _, name := range op.parameters {
			status, body := get(op.path + "?" + name + "=1&" + name + "=2")
			switch name {
			case "page", "limit":
				if status == http.StatusBadRequest && !strings.Contains(body, "The filter q ") && !strings.Contains(body, "q: ") {
					t.Errorf("%s with %s twice: got %d %s, want no error of %s", op.path, name, status, body, name)
				}
			case "columns", "group_by":
				if strings.Contains(body, "more than once") {
					t.Errorf("%s with %s twice: got %d %s", op.path, name, status, body)
				}
			default:
				if status != http.StatusBadRequest || code(body) != "INVALID_FILTER" || !strings.Contains(body, "more than once") &&
					!strings.Contains(body, "does not exist") {
					t.Errorf("%s with %s twice: got %d %s, want 400 INVALID_FILTER", op.path, name, status, body)
				}
			}
		}
		isStrict := strings.HasPrefix(op.path, "/api/v1/exports") || strings.HasPrefix(op.path, "/api/v1/analytics") ||
			strings.HasPrefix(op.path, "/api/v1/sharing")
		if status, body := get(op.path + "?unheard_of=1"); isStrict != (status == http.StatusBadRequest &&
			strings.Contains(body, "unheard_of")) {
			t.Errorf("%s with an unknown parameter: got %d %s, want an error: %v", op.path, status, body, isStrict)
		}
	}
	for query, want := range map[string]string{"columns=id&columns=status": "id,status\n",
		"columns=id,status&columns=direction": "id,status,direction\n"} {
		if status, body := get("/api/v1/exports/calls?format=csv&" + query); status != 200 || !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %d %.200s, want the columns %s", query, status, body, want)
		}
	}
}
