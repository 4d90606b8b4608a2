package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Search asks which calls have turns with something in them.
type Search struct {
	Query  SearchQuery
	Filter Filter // of the calls
	Newest bool   // newest calls first; else those with most such turns, and of these the newest
	Limit  int64  // calls
	Offset int64
}

// Found are calls with such turns, of one state of the rows.
type SearchResult struct {
	Calls []MatchedCall
	Total int64 // calls, without the limit
	Turns int64 // turns of these
	AsOf  time.Time
}

// FoundCall is one of them.
type MatchedCall struct {
	ID                uuid.UUID
	CreatedAt         time.Time
	AssistantID       uuid.NullUUID
	Direction, Status sql.NullString
	Matches           int64         // turns with what is searched for
	Turns             []MatchedTurn // the first of these
}

// FoundTurn is a turn with what is searched for.
type MatchedTurn struct {
	Turn    int64 // from 1 on, as in the export of turns
	Speaker sql.NullString
	Text    string
	Offset  sql.NullInt64 // milliseconds from the start of the call
	Places  [][2]int      // the first and the next after the last code point of each place
}

// MostFoundTurns is how many turns of a call are shown.
const MaxMatchedTurns = 10

// SearchTranscripts reads the turns as they are published, and those of the months that have changed since from the tenant's tables.
func (w *Warehouse) SearchTranscripts(ctx context.Context, tenant uuid.UUID, search Search) (found SearchResult, err error) {
	_, release, err := w.reader(ctx, tenant)
	if err != nil {
		return found, err
	}
	defer release()
	snapshot, err := w.Snapshot(ctx, tenant)
	if err != nil {
		return found, w.diagnose(err)
	}
	defer func() { err = cmp.Or(err, snapshot.Close()) }()
	found.AsOf = snapshot.AsOf
	turns, err := snapshot.Select(ctx, mustExport("transcript_turns"), search.Filter)
	if err == nil {
		err = search.readCalls(ctx, snapshot.Conn, turns, &found)
	}
	if err == nil && len(found.Calls) == 0 && search.Offset > 0 { // a page behind the last has totals all the same
		search.Limit, search.Offset = 1, 0
		err = search.readCalls(ctx, snapshot.Conn, turns, &found)
		found.Calls = nil
	}
	if err == nil && len(found.Calls) > 0 {
		err = search.readTurns(ctx, snapshot.Conn, turns, found.Calls)
	}
	if err != nil {
		err = fmt.Errorf("search transcripts: %w", w.diagnose(err))
	}
	return found, err
}

// FoundTable is a statement for found calls as a table, from the JSON that they are answered in.
func SearchTable(calls []byte) string {
	return statements.Fill("analytics/search_rows", "calls", statements.Text(string(calls)))
}

func (s Search) readCalls(ctx context.Context, db querier, turns string, found *SearchResult) error {
	order := "matches DESC, created_at DESC, call_id"
	if s.Newest {
		order = "created_at DESC, call_id"
	}
	rows, err := db.QueryContext(ctx, statements.Fill("analytics/search", "turns", turns, "condition", s.Query.condition, "order", order),
		sql.Named("limit", s.Limit), sql.Named("offset", s.Offset))
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

func (s Search) readTurns(ctx context.Context, db querier, turns string, calls []MatchedCall) error {
	ids, times := make([]string, len(calls)), make([]string, len(calls))
	at := make(map[uuid.UUID]*MatchedCall, len(calls))
	for i := range calls {
		ids[i] = statements.Text(calls[i].ID.String()) + "::UUID"
		times[i] = statements.Text(calls[i].CreatedAt.Format("2006-01-02 15:04:05.999999")+"+00") + "::TIMESTAMPTZ"
		at[calls[i].ID] = &calls[i]
	}
	rows, err := db.QueryContext(ctx, statements.Fill("analytics/search_turns", "turns", turns, "condition", s.Query.condition,
		"calls", strings.Join(ids, ", "), "times", strings.Join(times, ", ")), sql.Named("most", MaxMatchedTurns))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		var c MatchedCall
		var t MatchedTurn
		if err := rows.Scan(&id, &t.Turn, &t.Speaker, &t.Text, &t.Offset, &c.AssistantID, &c.Direction, &c.Status); err != nil {
			return err
		}
		t.Places = s.Query.Find(t.Text)
		call := at[id]
		call.AssistantID, call.Direction, call.Status = c.AssistantID, c.Direction, c.Status
		call.Turns = append(call.Turns, t)
	}
	return rows.Err()
}
