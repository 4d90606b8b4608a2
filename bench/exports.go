package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Minimum rates of a stream over HTTP, relative to DuckDB alone producing the same bytes and discarding them.
const (
	targetCopied = 0.85
	targetArrow  = 0.8
)

// alone has the options of the COPY that DuckDB alone runs, by format. They equal the options of streams, except that
// they have no metadata of the columns.
var alone = map[exports.Format]string{
	exports.Parquet: "FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE 30720",
	exports.CSV:     "FORMAT csv, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%gZ'",
	exports.NDJSON:  "FORMAT json, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%gZ'",
}

// exports measures streams of all calls in each format.
func (b *bench) exports(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	return serving(ctx, big.data, func(s *server) error {
		_, key, err := s.warehouse.CreateKey(ctx, tenantID, control.Secret, control.KeySettings{Label: "bench"})
		if err != nil {
			return err
		}
		s.key = key
		for _, format := range exports.Formats {
			var ours, theirs sample
			for i := range b.rounds + 1 {
				if err := ours.timed(func() error {
					return s.drain(ctx,
						"/api/v1/exports/calls?format="+string(format))
				}); err != nil {
					return err
				}
				if err := theirs.timed(func() error { return drainAlone(ctx, s.warehouse, format) }); err != nil {
					return err
				}
				logf("round %d: %s: stream %.0f ms, DuckDB alone %.0f ms", i, format, ours[i], theirs[i])
			}
			ours, theirs = ours[1:], theirs[1:] // the first round warms both
			against, reach := "DuckDB alone, COPY to /dev/null", targetCopied
			if format == exports.Arrow {
				against, reach = "the driver's Arrow reader, drained", targetArrow
			}
			speed := ratioOfEach(theirs, ours)
			b.table.add(row{"stream of " + thousands(2*b.rows) + " calls as " + string(format) + ", HTTP", against,
				fmt.Sprintf("≥ %g×", reach),
				fmt.Sprintf("%s rows/s against %s", thousands(int(float64(2*b.rows)/ours.median()*1000)),
					thousands(int(float64(2*b.rows)/theirs.median()*1000))),
				result(speed.ratio(), speed.median() >= reach)})
		}
		return nil
	})
}

// drain reads a response to its end and discards it.
func (c *client) drain(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Api-Key", c.key)
	request.Header.Set("Accept-Encoding", "identity")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return discard(response.Body)
}

// drainAlone produces the rows of the stream within this process.
func drainAlone(ctx context.Context, w *warehouse.Warehouse, format exports.Format) (err error) {
	export, err := schema.ExportNamed(schema.Calls.Name)
	if err != nil {
		return err
	}
	snapshot, err := w.Snapshot(ctx, tenantID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	statement, err := snapshot.Select(ctx, export, schema.Filter{})
	if err != nil {
		return err
	}
	if format == exports.CSV { // with the same casts as a stream
		statement = "SELECT * REPLACE (to_json(transcript)::VARCHAR AS transcript) FROM (" + statement + ")"
	}
	if format != exports.Arrow {
		_, err = snapshot.Conn.ExecContext(ctx, "COPY ("+statement+") TO '/dev/null' ("+alone[format]+", USE_TMP_FILE false)")
		return err
	}
	return snapshot.Conn.Raw(func(conn any) error {
		stream, err := duckdb.StreamArrow(ctx, conn, statement)
		if err != nil {
			return err
		}
		defer stream.Close()
		for {
			batch, err := stream.Next()
			if batch == nil {
				return err
			}
			batch.Release()
		}
	})
}
