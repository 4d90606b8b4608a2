package httpapi

import (
	"net/http"
	"slices"

	"github.com/gorilla/mux"
)

// Routes are the paths that can be read, as openapitest.Routes has them.
func Routes() (routes []string, err error) {
	err = (&api{}).router().Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if slices.Contains(methods, http.MethodGet) {
			routes = append(routes, "GET "+path)
		}
		return err
	})
	return routes, err
}
