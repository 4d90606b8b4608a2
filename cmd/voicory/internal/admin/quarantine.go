package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// ListQuarantine yields at most limit refused rows. It never holds all of them in memory.
func ListQuarantine(ctx context.Context, c *Conn, limit int64) iter.Seq2[warehouse.Refusal, error] {
	if c.local != nil {
		return c.local.quarantine(ctx, limit)
	}
	return func(yield func(warehouse.Refusal, error) bool) {
		response, err := c.remote.download(ctx, quarantineLines.name, limit)
		if err != nil {
			yield(warehouse.Refusal{}, err)
			return
		}
		defer response.Body.Close()
		for lines := json.NewDecoder(response.Body); ; {
			var refusal warehouse.Refusal
			err := lines.Decode(&refusal)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("read the quarantine from the running server: %w", err)
			}
			if !yield(refusal, err) || err != nil {
				return
			}
		}
	}
}

// quarantineLines writes at most limit refused rows as NDJSON.
var quarantineLines = download("quarantine/list",
	func(ctx context.Context, l *Local, limit int64, out io.Writer) (none None, err error) {
		lines := json.NewEncoder(out)
		for refusal, err := range l.quarantine(ctx, limit) {
			if err == nil {
				err = lines.Encode(refusal)
			}
			if err != nil {
				return none, err
			}
		}
		return none, nil
	})

// maxFirstRefusals is the maximum number of rows that firstRefusals returns, because it holds them in memory.
const maxFirstRefusals = 1000

// firstRefusals returns the first refused rows, at most limit.
var firstRefusals = operation("quarantine/first",
	func(ctx context.Context, l *Local, limit int64) ([]warehouse.Refusal, error) {
		refusals := []warehouse.Refusal{} // [] in JSON instead of null
		for refusal, err := range l.quarantine(ctx, min(limit, maxFirstRefusals)) {
			if err != nil {
				return nil, err
			}
			refusals = append(refusals, refusal)
		}
		return refusals, nil
	})

// quarantine yields at most limit refused rows of the open folder.
func (l *Local) quarantine(ctx context.Context, limit int64) iter.Seq2[warehouse.Refusal, error] {
	return func(yield func(warehouse.Refusal, error) bool) {
		n := int64(0)
		for refusal, err := range l.Warehouse.Quarantine(ctx) {
			if n++; n > limit || !yield(refusal, err) {
				return
			}
		}
	}
}

// Replayed is the outcome of a replay.
type Replayed struct {
	schema.Counts
	Refusals []warehouse.Refusal `json:"refusals"` // the first rows that were refused again
}

// Replay ingests the refused rows of the named quarantine files again, or of all files if there are no names.
var Replay = operation("quarantine/replay",
	func(ctx context.Context, l *Local, files []string) (total Replayed, err error) {
		total.Counts, total.Refusals, err = l.Warehouse.Replay(ctx, ingest.ParseCSVLine, files...)
		total.Refusals = append([]warehouse.Refusal{}, total.Refusals...) // [] in JSON instead of null
		return total, err
	})

// RemoveQuarantined removes the named quarantine files.
var RemoveQuarantined = operation("quarantine/remove", func(_ context.Context, l *Local, files []string) (None, error) {
	return None{}, l.Warehouse.RemoveQuarantined(files...)
})
