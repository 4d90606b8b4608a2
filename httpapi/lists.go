package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/warehouse"
)

// registerLists adds the six documented endpoints: a list and a detail for each dataset.
func (a *api) registerLists(router *mux.Router) {
	for _, dataset := range warehouse.Datasets {
		path := "/api/v1/" + dataset.Name
		router.Handle(path, a.withKey(a.list(dataset))).Methods(http.MethodGet, http.MethodHead)
		router.Handle(path+"/{id}", a.withKey(a.detail(dataset))).Methods(http.MethodGet, http.MethodHead)
	}
}

// meta says where in its list a page lies.
type meta struct {
	Page       int64 `json:"page"`
	Limit      int64 `json:"limit"`
	Total      int64 `json:"total"`
	TotalPages int64 `json:"total_pages"`
	HasMore    bool  `json:"has_more"`
}

func (a *api) list(dataset warehouse.Dataset) keyed {
	return func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
		q, err := parseListQuery(r.URL.RawQuery, dataset)
		if err != nil {
			return err
		}
		page, err := a.Store.List(r.Context(), key.Tenant, dataset, q.filter, q.limit, q.offset())
		if err != nil {
			return err
		}
		pages := (page.Total + q.limit - 1) / q.limit
		place, err := json.Marshal(meta{q.page, q.limit, page.Total, pages, q.page < pages})
		if err != nil {
			return fmt.Errorf("write meta: %w", err)
		}
		var body bytes.Buffer
		body.WriteString(`{"data":[`)
		for i, item := range page.Items {
			if i > 0 {
				body.WriteByte(',')
			}
			body.WriteString(item)
		}
		body.WriteString(`],"meta":`)
		body.Write(place)
		body.WriteByte('}')
		writeJSON(w, http.StatusOK, body.Bytes())
		return nil
	}
}

func (a *api) detail(dataset warehouse.Dataset) keyed {
	return func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
		id, err := parseUUID(mux.Vars(r)["id"])
		if err != nil {
			return &problem{status: http.StatusBadRequest, code: "INVALID_ID", message: "The id in the path is not a UUID"}
		}
		item, err := a.Store.Get(r.Context(), key.Tenant, dataset, id)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, []byte(`{"data":`+item+`}`))
		return nil
	}
}

// parseUUID takes the usual form of 36 characters and no other.
func parseUUID(text string) (uuid.UUID, error) {
	if len(text) != 36 {
		return uuid.Nil, fmt.Errorf("%q is no UUID", text)
	}
	return uuid.Parse(text)
}
