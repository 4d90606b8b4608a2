package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
)

// WaitNoLongerThan sets the timeout for a stalled body until the test ends.
func WaitNoLongerThan(t *testing.T, d time.Duration) {
	before := stallTimeout
	stallTimeout = d
	t.Cleanup(func() { stallTimeout = before })
}

// Routes returns the operations of the API in the format of openapitest.Routes. The catalog and the objects of tables
// have specifications of their own.
func Routes() (routes []string, err error) {
	err = (&api{}).router().Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, catalogPath) || strings.HasPrefix(path, objectsPath) ||
			strings.HasPrefix(path, sharingPath) {
			return nil
		}
		methods, err := route.GetMethods()
		if err != nil {
			return nil //nolint:nilerr // the route for all other methods
		}
		for _, method := range methods {
			if method == http.MethodGet || method == http.MethodPost || method == http.MethodDelete {
				routes = append(routes, method+" "+path)
			}
		}
		return nil
	})
	return routes, err
}

// Snippet is for tests.
var Snippet = snippet
