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
	"github.com/voicory/warehouse/warehouse"
)

// foundCall is a call with turns that have what is searched for.
type foundCall struct {
	CallID      string      `json:"call_id"`
	CreatedAt   moment      `json:"created_at"`
	AssistantID *string     `json:"assistant_id"`
	Direction   *string     `json:"direction"`
	Status      *string     `json:"status"`
	Matches     int64       `json:"matches"`
	Turns       []foundTurn `json:"turns"`
}

type foundTurn struct {
	Turn         int64    `json:"turn"`
	Speaker      *string  `json:"speaker"`
	OffsetMS     *int64   `json:"offset_ms"`
	Snippet      string   `json:"snippet"`
	SnippetStart int      `json:"snippet_start"` // code points before it
	Places       [][2]int `json:"places"`        // in the turn's text, in code points: the first, and the next after the last
}

type foundMeta struct {
	Page     int64  `json:"page"`
	Limit    int64  `json:"limit"`
	Total    int64  `json:"total"` // calls
	Turns    int64  `json:"turns"`
	HasMore  bool   `json:"has_more"`
	Sort     string `json:"sort"`
	Timezone string `json:"timezone"`
	AsOf     moment `json:"as_of"`
}

// foundAnswer is the answer as JSON.
type foundAnswer struct {
	Data json.RawMessage `json:"data"`
	Meta foundMeta       `json:"meta"`
}

// deepest is how many calls may be before a page of what was found.
const deepest = 10_000

func (a *api) search(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	filter, zone, values, err := parsePeriod(r.URL.RawQuery, warehouse.Calls)
	if err != nil {
		return err
	}
	search := warehouse.Search{Filter: filter}
	if search.Query, err = warehouse.ParseSearchQuery(values.Get("q")); err != nil {
		return &problem{status: http.StatusBadRequest, code: "INVALID_FILTER", message: "q: " + strings.TrimPrefix(err.Error(), warehouse.ErrInvalid.Error()+": ")}
	}
	meta := foundMeta{Page: parseCount(values.Get("page"), 1, maxPage), Limit: parseCount(values.Get("limit"), defaultLimit, maxLimit), Sort: "matches", Timezone: zone.String()}
	switch sort := values.Get("sort"); sort {
	case "", "matches":
	case "newest":
		meta.Sort, search.Newest = sort, true
	default:
		return invalidFilter("sort", "is neither matches nor newest")
	}
	format, options, err := parseTable(r)
	if err != nil {
		return err
	}
	search.Limit, search.Offset = meta.Limit, (meta.Page-1)*meta.Limit
	if search.Offset > deepest {
		return invalidFilter("page", fmt.Sprintf("lies behind the first %d calls; narrow the search instead", deepest))
	}
	found, err := a.Store.SearchTranscripts(r.Context(), key.Tenant, search)
	if err != nil {
		return streamProblem(err)
	}
	meta.Total, meta.Turns, meta.AsOf = found.Total, found.Turns, moment(found.AsOf)
	meta.HasMore = search.Offset+int64(len(found.Calls)) < found.Total
	calls := make([]foundCall, len(found.Calls))
	for i, c := range found.Calls {
		calls[i] = foundCall{c.ID.String(), moment(c.CreatedAt), nil, given(c.Direction.String, c.Direction.Valid), given(c.Status.String, c.Status.Valid), c.Matches, []foundTurn{}}
		calls[i].AssistantID = given(c.AssistantID.UUID.String(), c.AssistantID.Valid)
		for _, t := range c.Turns {
			shown := foundTurn{Turn: t.Turn, Speaker: given(t.Speaker.String, t.Speaker.Valid), OffsetMS: given(t.Offset.Int64, t.Offset.Valid), Places: t.Places}
			shown.Snippet, shown.SnippetStart = snippet(t.Text, t.Places)
			calls[i].Turns = append(calls[i].Turns, shown)
		}
	}
	w.Header().Add("Vary", "Accept")
	w.Header().Set("X-As-Of", meta.AsOf.String())
	data, err := json.Marshal(calls)
	if err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	var body []byte
	if format == exports.JSON {
		body, err = json.Marshal(foundAnswer{data, meta})
	} else {
		w.Header().Set("Content-Disposition", `attachment; filename="`+fileName("search", filter, format, found.AsOf)+`"`)
		body, err = a.foundTable(r.Context(), key.Tenant, data, found.AsOf, format, options)
	}
	if err != nil {
		return streamProblem(fmt.Errorf("write what was found: %w", err))
	}
	return writeBody(w, r, http.StatusOK, format.MediaType(), body)
}

// foundTable writes found calls as a table, a row for each turn. It reads nothing more of the tenant: DuckDB makes the table of the JSON.
func (a *api) foundTable(ctx context.Context, tenant uuid.UUID, calls []byte, asOf time.Time, format exports.Format, options exports.CSVOptions) (_ []byte, err error) {
	snapshot, err := a.Store.Snapshot(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	about := warehouse.Export{Name: "search", Description: "Turns with what was searched for, and their calls.", Source: warehouse.Calls}
	var body bytes.Buffer
	_, err = exports.Write(ctx, snapshot.Conn, exports.Result{About: about, AsOf: asOf, Statement: warehouse.SearchTable(calls)}, format, options, &body)
	return body.Bytes(), err
}

// given is a value that may be missing.
func given[T any](value T, valid bool) *T {
	if !valid {
		return nil
	}
	return &value
}

// A snippet has so many code points of the turn's text, from so many before the first place on.
const (
	snippetLength = 200
	snippetBefore = 60
)

// snippet is a part of the text, and how many code points are before it.
func snippet(text string, places [][2]int) (part string, start int) {
	letters := []rune(text)
	if len(places) > 0 {
		start = max(min(places[0][0]-snippetBefore, len(letters)-snippetLength), 0)
	}
	return string(letters[start:min(start+snippetLength, len(letters))]), start
}
