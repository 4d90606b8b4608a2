package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/warehouse"
)

// registerLists adds the six documented endpoints: a list and a detail for each dataset.
func (a *api) registerLists(router *mux.Router) {
	for _, dataset := range warehouse.Datasets {
		path := "/api/v1/" + dataset.Name
		a.get(router, path, a.withKey(a.list(dataset)))
		a.get(router, path+"/{id}", a.withKey(a.detail(dataset)))
	}
}

// meta says where in its list a page lies. Beyond the documented fields there is next_cursor, and in a feed seq.
type meta struct {
	Page       *int64          `json:"page"` // null where a cursor says it
	Limit      int64           `json:"limit"`
	Total      *int64          `json:"total"` // null where it was not asked for
	TotalPages *int64          `json:"total_pages"`
	HasMore    bool            `json:"has_more"`
	NextCursor *string         `json:"next_cursor"`   // null at the end of a list, never in a feed
	Seq        json.RawMessage `json:"seq,omitempty"` // of a feed: the newest commit, null while there is more
}

func (a *api) list(dataset warehouse.Dataset) keyed {
	return func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
		q, err := parseListQuery(r.URL.RawQuery, dataset)
		if err != nil {
			return err
		}
		s := scope{key.Tenant, dataset.Name, q.filter}
		var from place
		if q.cursor != "" {
			if from, err = a.parseCursor(q.cursor, s); err != nil {
				return err
			}
		} else if q.since != nil {
			after := warehouse.AfterCommit(*q.since)
			from.feed = &after
		}
		var items []string
		var where meta
		if from.feed != nil {
			items, where, err = a.feed(r, s, dataset, q, *from.feed)
		} else {
			items, where, err = a.page(r, s, dataset, q, from.list)
		}
		if err != nil {
			return err
		}
		if where.HasMore {
			w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", warehouse.MaskKeys(next(r.URL, *where.NextCursor))))
		}
		return writeList(w, r, items, where)
	}
}

// page reads a page of the list by its number, or after a place.
func (a *api) page(r *http.Request, s scope, dataset warehouse.Dataset, q listQuery, after *warehouse.Position) ([]string, meta, error) {
	where := meta{Limit: q.limit}
	listing := warehouse.Listing{Filter: q.filter, Limit: q.limit, After: after}
	if after == nil {
		where.Page, listing.Offset = &q.page, (q.page-1)*q.limit
	}
	page, err := a.Store.List(r.Context(), s.Tenant, dataset, listing)
	if err != nil {
		return nil, where, err
	}
	if where.HasMore = page.More; page.More {
		cursor := a.cursorAfter(page.Last, s)
		where.NextCursor = &cursor
	}
	if q.total {
		pages := (page.Total + q.limit - 1) / q.limit
		where.Total, where.TotalPages = &page.Total, &pages
	}
	return page.Items, where, nil
}

// feed reads what has changed after a place, oldest change first. At its end the cursor stays good: what comes, comes after it.
func (a *api) feed(r *http.Request, s scope, dataset warehouse.Dataset, q listQuery, after warehouse.FeedPosition) ([]string, meta, error) {
	feed, err := a.Store.Changes(r.Context(), s.Tenant, dataset, q.filter, after, q.limit)
	if err != nil {
		return nil, meta{}, err
	}
	cursor := a.cursorInFeed(feed.Next, s)
	where := meta{Limit: q.limit, HasMore: feed.More, NextCursor: &cursor, Seq: json.RawMessage("null")}
	if !feed.More {
		where.Seq = fmt.Appendf(nil, "%d", feed.Seq)
	}
	return feed.Items, where, nil
}

// next is the address of the page that begins at the cursor.
func next(here *url.URL, cursor string) string {
	query := here.Query()
	query.Del("page")
	query.Del("since")
	query.Set("cursor", cursor)
	return (&url.URL{Path: here.Path, RawQuery: query.Encode()}).String()
}

func writeList(w http.ResponseWriter, r *http.Request, items []string, where meta) error {
	place, err := json.Marshal(where)
	if err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	size := len(place) + 32
	for _, item := range items {
		size += len(item) + 1
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	body.WriteString(`{"data":[`)
	for i, item := range items {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(item)
	}
	body.WriteString(`],"meta":`)
	body.Write(place)
	body.WriteByte('}')
	return writeJSON(w, r, http.StatusOK, body.Bytes())
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
		return writeTagged(w, r, []byte(`{"data":`+item+`}`))
	}
}

// parseUUID takes the usual form of 36 characters and no other.
func parseUUID(text string) (uuid.UUID, error) {
	if len(text) != 36 {
		return uuid.Nil, fmt.Errorf("%q is no UUID", text)
	}
	return uuid.Parse(text)
}
