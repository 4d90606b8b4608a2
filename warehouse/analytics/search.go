package analytics

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Search selects calls by the text of their transcript turns.
type Search struct {
	Query  SearchQuery
	Filter schema.Filter // filter of the calls
	Newest bool          // order by created_at; false: by the number of matching turns, then created_at; descending
	Limit  int64         // maximum number of calls
	Offset int64         // number of calls to skip
}

// A SearchResult holds the calls that match a search, all of one snapshot.
type SearchResult struct {
	Calls []MatchedCall
	Total int64     // number of matching calls, without limit and offset
	Turns int64     // number of matching turns of these calls
	AsOf  time.Time // time of the snapshot; it includes every commit before
}

// A MatchedCall is a call with at least one matching turn.
type MatchedCall struct {
	ID                uuid.UUID
	CreatedAt         time.Time
	AssistantID       uuid.NullUUID
	Direction, Status sql.NullString
	Matches           int64         // number of matching turns
	Turns             []MatchedTurn // the first matching turns, at most MaxMatchedTurns
}

// A MatchedTurn is a turn whose text matches a search.
type MatchedTurn struct {
	Turn    int64 // number of the turn in its call, from 1, as in the export transcript_turns
	Speaker sql.NullString
	Text    string
	Offset  sql.NullInt64 // milliseconds from the start of the call
	Places  [][2]int      // matches in Text as half-open ranges of code points
}

// MaxMatchedTurns is the maximum number of turns returned per call.
const MaxMatchedTurns = 10

// SearchTranscripts returns the calls of the tenant that match the search. It reads turns from the published files, and
// turns of months that changed after they were published from the tenant's tables.
func SearchTranscripts(
	ctx context.Context, source Source, tenant uuid.UUID, search Search,
) (found SearchResult, err error) {
	snapshot, err := source.ReadSnapshot(ctx, tenant)
	if err != nil {
		return found, err
	}
	defer func() { err = cmp.Or(err, snapshot.Close()) }()
	found.AsOf = snapshot.AsOf
	turns, err := snapshot.Select(ctx, schema.MustExport("transcript_turns"), search.Filter)
	if err == nil {
		err = search.readCalls(ctx, snapshot.Conn, turns, &found)
	}
	if err == nil && len(found.Calls) == 0 && search.Offset > 0 { // a page after the last one also has totals
		search.Limit, search.Offset = 1, 0
		err = search.readCalls(ctx, snapshot.Conn, turns, &found)
		found.Calls = nil
	}
	if err == nil && len(found.Calls) > 0 {
		err = search.readTurns(ctx, snapshot.Conn, turns, found.Calls)
	}
	if err != nil {
		err = fmt.Errorf("search transcripts: %w", err)
	}
	return found, err
}

// SearchTable returns a statement that selects the calls of a response as a table. calls is the JSON of the response.
func SearchTable(calls []byte) string {
	return statements.Fill("analytics/search_rows", "calls", statements.Text(string(calls)))
}

// readCalls reads the calls of the result and its totals. turns is a statement that selects turns.
func (s Search) readCalls(ctx context.Context, conn *sql.Conn, turns string, found *SearchResult) error {
	order := "matches DESC, created_at DESC, call_id"
	if s.Newest {
		order = "created_at DESC, call_id"
	}
	query := statements.Fill("analytics/search", "turns", turns, "condition", s.Query.condition, "order", order)
	rows, err := conn.QueryContext(ctx, query, sql.Named("limit", s.Limit), sql.Named("offset", s.Offset))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c MatchedCall
		if err := rows.Scan(&c.ID, &c.CreatedAt, &c.Matches, &found.Total, &found.Turns); err != nil {
			return err
		}
		c.CreatedAt = c.CreatedAt.UTC()
		found.Calls = append(found.Calls, c)
	}
	return rows.Err()
}

// readTurns reads the matching turns of the calls and sets the other columns of the calls.
func (s Search) readTurns(ctx context.Context, conn *sql.Conn, turns string, calls []MatchedCall) error {
	ids, times := make([]string, len(calls)), make([]string, len(calls))
	at := make(map[uuid.UUID]*MatchedCall, len(calls))
	for i := range calls {
		ids[i] = statements.Text(calls[i].ID.String())
		createdAt := calls[i].CreatedAt.Format("2006-01-02 15:04:05.999999") + "+00"
		times[i] = statements.Text(createdAt) + "::TIMESTAMPTZ"
		at[calls[i].ID] = &calls[i]
	}
	query := statements.Fill("analytics/search_turns", "turns", turns, "condition", s.Query.condition,
		"calls", strings.Join(ids, ", "), "times", strings.Join(times, ", "))
	rows, err := conn.QueryContext(ctx, query, sql.Named("most", MaxMatchedTurns))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		var c MatchedCall
		var t MatchedTurn
		err := rows.Scan(&id, &t.Turn, &t.Speaker, &t.Text, &t.Offset, &c.AssistantID, &c.Direction, &c.Status)
		if err != nil {
			return err
		}
		t.Places = s.Query.Find(t.Text)
		call := at[id]
		call.AssistantID, call.Direction, call.Status = c.AssistantID, c.Direction, c.Status
		call.Turns = append(call.Turns, t)
	}
	return rows.Err()
}
