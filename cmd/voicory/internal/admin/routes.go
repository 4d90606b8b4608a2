package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// A route is a method and a path for an operation, for scripts of operators, for example with `curl --unix-socket`.
// Earlier versions had these routes, so they stay.
type route struct {
	pattern   string
	operation string
	request   func(r *http.Request) (any, error)
}

var routes = []route{
	{"POST /publish", Publish.name, noRequest},
	{"GET /keys", ListKeys.name, noRequest},
	{"POST /keys", CreateKey.name, func(r *http.Request) (any, error) {
		var key control.Key
		err := json.NewDecoder(r.Body).Decode(&key)
		return NewKey{key.Tenant, key.Type, key.KeySettings}, err
	}},
	{"PUT /keys/{id}", UpdateKey.name, func(r *http.Request) (any, error) {
		id, err := uuid.Parse(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		update := KeyUpdate{ID: id}
		err = json.NewDecoder(r.Body).Decode(&update.Settings)
		return update, err
	}},
	{"DELETE /keys/{id}", RevokeKey.name, func(r *http.Request) (any, error) { return uuid.Parse(r.PathValue("id")) }},
	{"GET /tenants", ListTenants.name, noRequest},
	{"GET /sources", ListSources.name, noRequest},
	{"GET /requests", ListRequests.name, func(r *http.Request) (any, error) {
		var filter RequestFilter
		err := json.Unmarshal([]byte(r.URL.Query().Get("query")), &filter)
		return filter, err
	}},
	{"GET /quarantine", firstRefusals.name, func(r *http.Request) (any, error) {
		return strconv.ParseInt(r.URL.Query().Get("limit"), 10, 64)
	}},
	{"POST /quarantine/replay", Replay.name, fileNames},
	{"DELETE /quarantine", RemoveQuarantined.name, fileNames},
}

func noRequest(*http.Request) (any, error) { return None{}, nil }

func fileNames(r *http.Request) (any, error) { return r.URL.Query()["file"], nil }

// serve runs the operation of the route.
func (route route) serve(l *Local, w http.ResponseWriter, r *http.Request) error {
	request, err := route.request(r)
	var text []byte
	if err == nil {
		text, err = json.Marshal(request)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", warehouse.ErrInvalid, route.pattern, err)
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(newErrorEvent(err)) // the client may have disconnected
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return handlers[route.operation](l, w, r)
}
