package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// callMatch is a call with at least one turn that matches the search.
type callMatch struct {
	CallID      string      `json:"call_id"`
	CreatedAt   timestamp   `json:"created_at"`
	AssistantID *string     `json:"assistant_id"`
	Direction   *string     `json:"direction"`
	Status      *string     `json:"status"`
	Matches     int64       `json:"matches"`
	Turns       []turnMatch `json:"turns"`
}

// turnMatch is a turn that matches the search.
type turnMatch struct {
	Turn         int64    `json:"turn"`
	Speaker      *string  `json:"speaker"`
	OffsetMS     *int64   `json:"offset_ms"`
	Snippet      string   `json:"snippet"`
	SnippetStart int      `json:"snippet_start"` // code points of the text before the snippet
	Places       [][2]int `json:"places"`        // matches in the text as [start, end), in code points
}

// searchMeta is the meta object of a search.
type searchMeta struct {
	Page     int64     `json:"page"`
	Limit    int64     `json:"limit"`
	Total    int64     `json:"total"` // matching calls
	Turns    int64     `json:"turns"` // matching turns
	HasMore  bool      `json:"has_more"`
	Sort     string    `json:"sort"`
	Timezone string    `json:"timezone"`
	AsOf     timestamp `json:"as_of"`
}

// searchResponse is the body of a JSON response.
type searchResponse struct {
	Data json.RawMessage `json:"data"`
	Meta searchMeta      `json:"meta"`
}

// maxSearchOffset is the maximum offset of a page of results, in calls.
const maxSearchOffset = 10_000

// search answers a transcript search with one page of calls, as JSON or as a table.
func (a *api) search(w http.ResponseWriter, r *http.Request, key control.Key) error {
	filter, zone, values, err := parsePeriod(r.URL.RawQuery, schema.Calls, "q", "sort", "page", "limit")
	if err != nil {
		return err
	}
	search := analytics.Search{Filter: filter}
	if search.Query, err = analytics.ParseSearchQuery(values.Get("q")); err != nil {
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: "q: " + strings.TrimPrefix(err.Error(), warehouse.ErrInvalid.Error()+": ")}
	}
	meta := searchMeta{
		Page:  parseCount(values.Get("page"), 1, maxPage),
		Limit: parseCount(values.Get("limit"), defaultLimit, maxLimit),
		Sort:  "matches", Timezone: zone.String(),
	}
	switch sort := values.Get("sort"); sort {
	case "", "matches":
	case "newest":
		meta.Sort, search.Newest = sort, true
	default:
		return invalidFilter("sort", "is neither matches nor newest")
	}
	format, options, err := parseTableFormat(r, values)
	if err != nil {
		return err
	}
	search.Limit, search.Offset = meta.Limit, (meta.Page-1)*meta.Limit
	if search.Offset > maxSearchOffset {
		return invalidFilter("page",
			fmt.Sprintf("is beyond the first %d calls; narrow the search", maxSearchOffset))
	}
	found, err := analytics.SearchTranscripts(r.Context(), a.Store, key.Tenant, search)
	if err != nil {
		return streamProblem(err)
	}
	meta.Total, meta.Turns, meta.AsOf = found.Total, found.Turns, timestamp(found.AsOf)
	meta.HasMore = search.Offset+int64(len(found.Calls)) < found.Total
	calls := make([]callMatch, len(found.Calls))
	for i, c := range found.Calls {
		calls[i] = callMatch{
			CallID: c.ID.String(), CreatedAt: timestamp(c.CreatedAt),
			AssistantID: ptr(c.AssistantID.UUID.String(), c.AssistantID.Valid),
			Direction:   ptr(c.Direction.String, c.Direction.Valid),
			Status:      ptr(c.Status.String, c.Status.Valid),
			Matches:     c.Matches, Turns: []turnMatch{},
		}
		for _, t := range c.Turns {
			shown := turnMatch{Turn: t.Turn, Speaker: ptr(t.Speaker.String, t.Speaker.Valid),
				OffsetMS: ptr(t.Offset.Int64, t.Offset.Valid), Places: t.Places}
			shown.Snippet, shown.SnippetStart = snippet(t.Text, t.Places)
			calls[i].Turns = append(calls[i].Turns, shown)
		}
	}
	w.Header().Add("Vary", "Accept")
	w.Header().Set("X-As-Of", meta.AsOf.String())
	data, err := json.Marshal(calls)
	if err != nil {
		return fmt.Errorf("encode the search result: %w", err)
	}
	var body []byte
	if format == exports.JSON {
		body, err = json.Marshal(searchResponse{data, meta})
	} else {
		name := fileName("search", filter, format, found.AsOf)
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
		body, err = a.searchTable(r.Context(), key.Tenant, data, found.AsOf, format, options)
	}
	if err != nil {
		return streamProblem(fmt.Errorf("encode the search result: %w", err))
	}
	return writeBody(w, r, http.StatusOK, format.MediaType(), body)
}

// searchTable returns the calls, which are JSON, as a table with one row for each turn. It takes a snapshot only
// for a connection: DuckDB converts the JSON, and no rows of the tenant are read.
func (a *api) searchTable(
	ctx context.Context, tenant uuid.UUID, calls []byte, asOf time.Time, format exports.Format,
	options exports.CSVOptions,
) (_ []byte, err error) {
	snapshot, err := a.Store.Snapshot(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	about := schema.Export{Name: "search", Source: schema.Calls,
		Description: "Turns that match the search, and their calls."}
	var body bytes.Buffer
	result := exports.Result{About: about, AsOf: asOf, Statement: analytics.SearchTable(calls)}
	_, err = exports.Write(ctx, snapshot.Conn, result, format, options, &body)
	return body.Bytes(), err
}

// Lengths of a snippet, in code points: its whole length, and the text before the first match.
const (
	snippetLength = 200
	snippetBefore = 60
)

// snippet returns the part of the text around the first match, and the number of code points before that part.
func snippet(text string, places [][2]int) (part string, start int) {
	letters := []rune(text)
	if len(places) > 0 {
		start = max(min(places[0][0]-snippetBefore, len(letters)-snippetLength), 0)
	}
	return string(letters[start:min(start+snippetLength, len(letters))]), start
}
