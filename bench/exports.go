package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
)

// How quick a stream over HTTP has to be, against DuckDB alone making the same bytes and throwing them away.
const (
	reachCopied = 0.85
	reachArrow  = 0.8
)

// alone are the options of a COPY as streams have them, but for what describes the columns.
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
		_, key, err := s.warehouse.CreateKey(ctx, tenantID, warehouse.Secret, warehouse.KeySettings{Label: "bench"})
		if err != nil {
			return err
		}
		s.key = key
		for _, format := range exports.Formats {
			var ours, theirs sample
			for i := range b.rounds + 1 {
				if err := ours.timed(func() error { return s.drain(ctx, "/api/v1/exports/calls?format="+string(format)) }); err != nil {
					return err
				}
				if err := theirs.timed(func() error { return drainAlone(ctx, s.warehouse, format) }); err != nil {
					return err
				}
				note("round %d: %s: stream %.0f ms, DuckDB alone %.0f ms", i, format, ours[i], theirs[i])
			}
			ours, theirs = ours[1:], theirs[1:] // the first round warms both
			against, reach := "DuckDB alone, COPY to /dev/null", reachCopied
			if format == exports.Arrow {
				against, reach = "the driver's Arrow reader, drained", reachArrow
			}
			speed := each(theirs, ours)
			b.table.add(row{"stream of " + thousands(2*b.rows) + " calls as " + string(format) + ", HTTP", against, fmt.Sprintf("≥ %g×", reach),
				fmt.Sprintf("%s rows/s against %s", thousands(int(float64(2*b.rows)/ours.median()*1000)), thousands(int(float64(2*b.rows)/theirs.median()*1000))),
				verdict(speed.ratio(), speed.median() >= reach)})
		}
		return nil
	})
}

// drain reads an answer to its end and throws it away.
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

// drainAlone makes what the stream has within this process.
func drainAlone(ctx context.Context, w *warehouse.Warehouse, format exports.Format) (err error) {
	export, err := warehouse.ExportNamed(warehouse.Calls.Name)
	if err != nil {
		return err
	}
	snapshot, err := w.Snapshot(ctx, tenantID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	statement, err := snapshot.Select(ctx, export, warehouse.Filter{})
	if err != nil {
		return err
	}
	if format == exports.CSV { // as streams write it
		statement = "SELECT * REPLACE (to_json(transcript)::VARCHAR AS transcript) FROM (" + statement + ")"
	}
	if format != exports.Arrow {
		_, err = snapshot.Conn.ExecContext(ctx, "COPY ("+statement+") TO '/dev/null' ("+alone[format]+", USE_TMP_FILE false)")
		return err
	}
	return snapshot.Conn.Raw(func(conn any) error {
		from, err := duckdb.NewArrowFromConn(conn.(driver.Conn))
		if err != nil {
			return err
		}
		reader, err := from.QueryContext(ctx, statement)
		if err != nil {
			return err
		}
		defer reader.Release()
		for reader.Next() {
		}
		return reader.Err()
	})
}
