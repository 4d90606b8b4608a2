package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// registerLists registers the six documented endpoints, a list and a detail for each dataset, and the erasure of a
// customer.
func (a *api) registerLists(router *mux.Router) {
	for _, dataset := range schema.Datasets {
		path := "/api/v1/" + dataset.Name
		a.get(router, path, a.requireKey(a.list(dataset)))
		detail := a.requireKey(a.detail(dataset))
		if dataset.Name == schema.Customers.Name {
			erase := a.requireSecretKey(Requests, a.eraseCustomer)
			a.route(router, path+"/{id}", detailOrErasure(detail, erase), http.MethodGet, http.MethodHead, http.MethodDelete)
			continue
		}
		a.get(router, path+"/{id}", detail)
	}
}

// meta is the position of a page in its list. next_cursor, and resume_cursor and seq in a feed, are additions to the
// documented fields.
type meta struct {
	Page       *int64          `json:"page"` // nil if the request has a cursor
	Limit      int64           `json:"limit"`
	Total      *int64          `json:"total"` // rows in the list; nil if include_total is false
	TotalPages *int64          `json:"total_pages"`
	HasMore    bool            `json:"has_more"`
	NextCursor *string         `json:"next_cursor"`             // nil at the end of a list or feed
	Resume     string          `json:"resume_cursor,omitempty"` // in a feed: the position after this page, never empty
	Seq        json.RawMessage `json:"seq,omitempty"`           // in a feed: the newest commit; null if more pages follow
}

// list returns the handler of the dataset's list. It returns a page of the list, or of the feed if the request has
// since or a cursor of a feed.
func (a *api) list(dataset schema.Dataset) authHandler {
	return func(w http.ResponseWriter, r *http.Request, key control.Key) error {
		q, err := parseListParams(r.URL.RawQuery, dataset)
		if err != nil {
			return err
		}
		s := scope{key.Tenant, dataset.Name, q.filter, ""}
		// The history is read before the page. If the store is replaced in between, the cursor is then invalid in the new
		// store.
		if history, _ := a.Store.History(key.Tenant); history != uuid.Nil {
			s.History = history.String()
		}
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
			link := control.MaskKeys(a.next(r, *where.NextCursor))
			w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", link))
		}
		return writeList(w, r, items, where)
	}
}

// page returns a page of the list, by its number or, if after is not nil, after a position.
func (a *api) page(
	r *http.Request, s scope, dataset schema.Dataset, q listParams, after *warehouse.Position,
) ([]string, meta, error) {
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

// feed returns the rows that changed after a position, oldest change first. The resume cursor of the last page remains
// valid: later changes come after it.
func (a *api) feed(
	r *http.Request, s scope, dataset schema.Dataset, q listParams, after warehouse.FeedPosition,
) ([]string, meta, error) {
	feed, err := a.Store.Changes(r.Context(), s.Tenant, dataset, q.filter, after, q.limit)
	if err != nil {
		return nil, meta{}, err
	}
	cursor := a.cursorInFeed(feed.Next, s)
	where := meta{Limit: q.limit, HasMore: feed.More, Resume: cursor, Seq: json.RawMessage("null")}
	if feed.More {
		where.NextCursor = &cursor
	} else {
		where.Seq = fmt.Appendf(nil, "%d", feed.Seq)
	}
	return feed.Items, where, nil
}

// next returns the URL of the page that begins at the cursor. It is absolute, as many clients require.
func (a *api) next(r *http.Request, cursor string) string {
	query := r.URL.Query()
	query.Del("page")
	query.Del("since")
	query.Set("cursor", cursor)
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	next.Scheme, next.Host = a.origin(r)
	if next.Host == "" || strings.ContainsAny(next.Host, "<>\",/ ") { // HTTP/1.0 may have no host
		next.Scheme, next.Host = "", ""
	}
	return next.String()
}

// origin returns the scheme and the host that the client used. A trusted proxy may name them.
func (a *api) origin(r *http.Request) (scheme, host string) {
	scheme, host = "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && a.trusted(peer.Addr().Unmap()) {
		if forwarded := r.Header.Get("X-Forwarded-Proto"); forwarded == "http" || forwarded == "https" {
			scheme = forwarded
		}
		host = cmp.Or(r.Header.Get("X-Forwarded-Host"), host)
	}
	return scheme, host
}

// writeList sends a page. It copies the items, which are JSON already.
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

var errInvalidID = &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_ID",
	Message: "The id in the path is not a UUID"}

// detail returns the handler of a single row of the dataset.
func (a *api) detail(dataset schema.Dataset) authHandler {
	return func(w http.ResponseWriter, r *http.Request, key control.Key) error {
		id, err := parseUUID(mux.Vars(r)["id"])
		if err != nil {
			return errInvalidID
		}
		item, err := a.Store.Get(r.Context(), key.Tenant, dataset, id)
		if err != nil {
			return err
		}
		return writeTagged(w, r, []byte(`{"data":`+item+`}`))
	}
}

// parseUUID parses a UUID in its usual form of 36 characters. Unlike uuid.Parse, it returns an error for other
// forms.
func parseUUID(text string) (uuid.UUID, error) {
	if len(text) != 36 {
		return uuid.Nil, fmt.Errorf("%q is not a UUID", text)
	}
	return uuid.Parse(text)
}
