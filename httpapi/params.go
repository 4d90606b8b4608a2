package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// listValued are the parameters whose value is a list: separated by commas, or given more than once.
var listValued = []string{"columns", "group_by"}

// forgiving are the parameters that never cause an error: if one is given more than once, its first value counts.
var forgiving = []string{"page", "limit"}

// parseParams returns the query parameters of a request to a route with the known parameters. It returns INVALID_FILTER
// for a malformed query, and for a known parameter that has one value and is given more than once: to ignore a value
// would answer another request than the one that was sent. If strict is true, it also returns INVALID_FILTER for an
// unknown parameter. The documented lists ignore unknown parameters, but a bulk export or a report that ignored a
// filter would give wrong figures.
func parseParams(raw string, known []string, strict bool) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: "The query is not properly escaped"}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch given := values[name]; {
		case !slices.Contains(known, name):
			if strict {
				return nil, unknownParameter(name, known)
			}
		case slices.Contains(listValued, name):
			given = slices.DeleteFunc(given, func(value string) bool { return value == "" })
			values.Set(name, strings.Join(given, ","))
		case len(given) > 1 && !slices.Contains(forgiving, name):
			return nil, invalidFilter(name, "is given more than once")
		}
	}
	return values, nil
}

// unknownParameter returns the problem for a parameter that the route does not have.
func unknownParameter(name string, known []string) *web.Problem {
	there := "this path has no parameters"
	if len(known) > 0 {
		there = "the parameters of this path are " + strings.Join(known, ", ")
	}
	return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
		Message: fmt.Sprintf("The parameter %.40q does not exist: %s", name, there)}
}
