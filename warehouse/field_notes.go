package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A FieldNote records that a field had values that could not be stored as they were, in rows that were not refused.
type FieldNote struct {
	Field  string `json:"field"`  // dataset.field
	Reason string `json:"reason"` // such as "out of range, set to null"
	Rows   int64  `json:"rows"`
}

// String returns the note as a sentence.
func (n FieldNote) String() string {
	return fmt.Sprintf("%s: %s (rows: %d)", n.Field, n.Reason, n.Rows)
}

// fieldNotes returns the notes that the query selects from the staged rows.
func fieldNotes(ctx context.Context, conn *sql.Conn, dataset schema.Dataset, query string) ([]FieldNote, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var notes []FieldNote
	for rows.Next() {
		var text string
		var note FieldNote
		if err := rows.Scan(&text, &note.Rows); err != nil {
			return nil, err
		}
		note.Field, note.Reason = schema.ParseNote(text)
		note.Field = dataset.Name + "." + note.Field
		notes = append(notes, note)
	}
	return notes, rows.Err()
}

// AddNotes returns notes with the rows of other added, sorted by field and reason. The number of notes is bounded by
// the fields and reasons that exist.
func AddNotes(notes, other []FieldNote) []FieldNote {
	for _, added := range other {
		same := func(note FieldNote) bool { return note.Field == added.Field && note.Reason == added.Reason }
		if i := slices.IndexFunc(notes, same); i >= 0 {
			notes[i].Rows += added.Rows
		} else {
			notes = append(notes, added)
		}
	}
	slices.SortFunc(notes, func(a, b FieldNote) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	return notes
}
