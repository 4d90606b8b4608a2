package main

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Targets of SQL over HTTP, relative to DuckDB in this process on the same Parquet, with its files already open.
const (
	targetStart    = 35.0 // ms that the query's own process may add
	targetAnalysis = 1.3  // × the time of the query, in addition to targetStart
	targetArrowOut = 0.6  // × the rows per second: rows are fetched and encoded in order, as for the other formats
	targetFaster   = 8    // number of analyses that must be faster than ROAPI
)

const counting = "SELECT count(*) FROM calls WHERE status = 'completed' AND duration_seconds > 60"

// analyses are typical queries of analysts for DuckDB, and for DataFusion (ROAPI) if it needs another syntax.
var analyses = []struct{ duckdb, datafusion string }{
	{"SELECT assistant_id, count(*) AS calls, sum(cost) AS usd FROM calls GROUP BY ALL ORDER BY usd DESC",
		"SELECT assistant_id, count(*) AS calls, sum(cost) AS usd FROM calls GROUP BY assistant_id ORDER BY usd DESC"},
	{"SELECT date_trunc('month', created_at) AS month, status, count(*) FROM calls GROUP BY ALL ORDER BY ALL",
		"SELECT date_trunc('month', created_at) AS month, status, count(*) FROM calls GROUP BY 1, 2 ORDER BY 1, 2"},
	{"SELECT day, sum(cost) AS usd, sum(cost_pending) FROM cost_daily GROUP BY ALL ORDER BY day",
		"SELECT day, sum(cost) AS usd, sum(cost_pending) FROM cost_daily GROUP BY day ORDER BY day"},
	{"SELECT hour(created_at) AS hour, avg(duration_seconds), quantile_cont(duration_seconds, [0.5, 0.9, 0.99]) FROM " +
		"calls GROUP BY ALL ORDER BY ALL",
		"SELECT date_part('hour', created_at) AS hour, avg(duration_seconds), approx_percentile_cont(duration_seconds, " +
			"0.5), approx_percentile_cont(duration_seconds, 0.9), approx_percentile_cont(duration_seconds, 0.99) FROM calls " +
			"GROUP BY 1 ORDER BY 1"},
	{"SELECT customer_number, count(*) AS n FROM calls GROUP BY ALL ORDER BY n DESC, customer_number LIMIT 100",
		"SELECT customer_number, count(*) AS n FROM calls " +
			"GROUP BY customer_number ORDER BY n DESC, customer_number LIMIT 100"},
	{"SELECT speaker, count(*), avg(words), sum(chars) FROM transcript_turns GROUP BY ALL ORDER BY ALL",
		"SELECT speaker, count(*), avg(words), sum(chars) FROM transcript_turns GROUP BY speaker ORDER BY speaker"},
	{"SELECT count(DISTINCT call_id) FROM transcript_turns WHERE text ILIKE '%invoice%'",
		"SELECT count(DISTINCT call_id) FROM transcript_turns WHERE text ILIKE '%invoice%'"},
	{"SELECT call_id, sum(words) AS words FROM transcript_turns GROUP BY ALL ORDER BY words DESC, call_id LIMIT 20",
		"SELECT call_id, sum(words) AS words FROM transcript_turns GROUP BY call_id ORDER BY words DESC, call_id LIMIT 20"},
	{"SELECT id, created_at, cost FROM calls QUALIFY row_number() OVER (PARTITION BY assistant_id ORDER BY cost DESC " +
		"NULLS LAST, id) <= 3 ORDER BY ALL",
		"SELECT id, created_at, cost FROM (SELECT id, created_at, cost, row_number() OVER (PARTITION BY assistant_id ORDER " +
			"BY cost DESC NULLS LAST, id) AS n FROM calls) WHERE n <= 3 ORDER BY 1, 2, 3"},
	{
		"SELECT c.provider, t.speaker, avg(t.words) FROM calls c JOIN transcript_turns t ON t.call_id = c.id " +
			"WHERE c.status = 'completed' GROUP BY ALL ORDER BY ALL",
		"SELECT c.provider, t.speaker, avg(t.words) FROM calls c JOIN transcript_turns t ON t.call_id = c.id " +
			"WHERE c.status = 'completed' GROUP BY c.provider, t.speaker ORDER BY 1, 2",
	},
}

// sql measures queries over HTTP against the same queries in this process.
func (b *bench) sql(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	key, err := unlimitedKey(ctx, big.data)
	if err != nil {
		return err
	}
	return b.withServer(ctx, big.data, key, func(ctx context.Context, asking *client) error {
		db, err := sameParquet(ctx, big.data)
		if err != nil {
			return err
		}
		defer db.Close()
		if err := b.counted(ctx, asking, db); err != nil {
			return err
		}
		if err := b.analysed(ctx, asking, db); err != nil {
			return err
		}
		if err := b.asArrow(ctx, asking, db); err != nil {
			return err
		}
		return b.againstROAPI(ctx, big.data, asking)
	})
}

// unlimitedKey creates a secret key without a rate limit.
func unlimitedKey(ctx context.Context, data string) (key string, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, key, err = w.CreateKey(ctx, tenantID, control.Secret, control.KeySettings{Label: "bench", RateLimit: "none"})
	return key, err
}

// sameParquet returns a DuckDB in this process with the relations of queries over the published files.
func sameParquet(ctx context.Context, data string) (*sql.DB, error) {
	files := map[string][]string{}
	for _, export := range schema.Exports {
		for _, pattern := range []string{"*.parquet", "*/*.parquet"} {
			found, err := filepath.Glob(filepath.Join(data, "lake", "tenant_id="+tenantID.String(), export.Name, pattern))
			if err != nil {
				return nil, err
			}
			files[export.Name] = append(files[export.Name], found...)
		}
	}
	db, err := sql.Open("duckdb", "?threads=2")
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx,
		"SET TimeZone = 'UTC';"+schema.CreateQueryViews()+schema.BindQueryViews(files)); err != nil {
		return nil, errors.Join(fmt.Errorf("set up DuckDB: %w", err), db.Close())
	}
	return db, nil
}

// pair measures a statement over HTTP and in this process, in turns.
func (b *bench) pair(
	ctx context.Context,
	asking *client,
	db *sql.DB,
	statement string,
	times int,
) (ours, theirs sample, err error) {
	for range times {
		if err := theirs.timed(func() error { return readAll(ctx, db, statement) }); err != nil {
			return nil, nil, err
		}
		if err := ours.timed(func() error {
			return asking.query(ctx, statement, "json", discard)
		}); err != nil {
			return nil, nil, err
		}
	}
	return ours, theirs, nil
}

func readAll(ctx context.Context, db *sql.DB, statement string) error {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row := make([]any, len(columns))
	for i := range row {
		row[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// counted measures the overhead of a query's own process.
func (b *bench) counted(ctx context.Context, asking *client, db *sql.DB) error {
	const times = 10
	ours, theirs, err := b.pair(ctx, asking, db, counting, times*b.rounds)
	if err != nil {
		return err
	}
	added := differenceOfEach(ours, theirs)
	b.table.add(row{"SQL: `count(*)` with a filter over " + thousands(2*b.rows) + " calls, over HTTP",
		"DuckDB in the process, on the same Parquet", fmt.Sprintf("adds ≤ %g ms", targetStart),
		fmt.Sprintf("%.1f ms against %.1f ms", ours.median(), theirs.median()),
		result(fmt.Sprintf("adds %.1f ms (%.1f–%.1f)", added.median(), slices.Min(added), slices.Max(added)),
			added.median() <= targetStart)})
	return nil
}

// analysed measures the analyses, each against its own bound, and reports the worst.
func (b *bench) analysed(ctx context.Context, asking *client, db *sql.DB) error {
	var used sample // share of the allowed time, by analysis
	var all, bare float64
	for _, analysis := range analyses {
		statement := analysis.duckdb
		ours, theirs, err := b.pair(ctx, asking, db, statement, b.rounds+1)
		if err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		ours, theirs = ours[1:], theirs[1:] // the first run fills the page cache
		used = append(used, ours.median()/(targetAnalysis*theirs.median()+targetStart))
		all, bare = all+ours.median(), bare+theirs.median()
		logf("%.0f ms against %.0f ms: %s", ours.median(), theirs.median(), statement)
	}
	worst := slices.Max(used)
	b.table.add(row{fmt.Sprintf("SQL: %d queries of analysts, over HTTP as JSON", len(analyses)), "the same",
		fmt.Sprintf("each ≤ %g× + %g ms", targetAnalysis, targetStart),
		fmt.Sprintf("%.0f ms against %.0f ms in all", all, bare),
		result(fmt.Sprintf("the worst takes %.2f of that", worst), worst <= 1)})
	return nil
}

// againstROAPI measures the analyses against ROAPI over the same files.
func (b *bench) againstROAPI(ctx context.Context, data string, asking *client) error {
	faster, all, other := 0, 0.0, 0.0
	there, err := b.withROAPI(ctx, data, func(ctx context.Context, there *client) error {
		for _, analysis := range analyses {
			var ours, theirs sample
			for range b.rounds + 1 {
				if err := theirs.timed(func() error {
					return there.queryROAPI(ctx, analysis.datafusion,
						"application/json")
				}); err != nil {
					return err
				}
				if err := ours.timed(func() error { return asking.query(ctx, analysis.duckdb, "json", discard) }); err != nil {
					return err
				}
			}
			mine, its := ours[1:].median(), theirs[1:].median() // the first run fills the page cache
			logf("%.0f ms, ROAPI %.0f ms: %s", mine, its, analysis.duckdb)
			if mine < its {
				faster++
			}
			all, other = all+mine, other+its
		}
		return nil
	})
	if err != nil || !there {
		return err
	}
	b.table.add(row{"the same queries", "ROAPI over the same Parquet", fmt.Sprintf("faster on ≥ %d", targetFaster),
		fmt.Sprintf("%.0f ms against %.0f ms in all", all, other),
		result(fmt.Sprintf("faster on %d of %d", faster, len(analyses)), faster >= targetFaster)})
	return nil
}

// asArrow measures results in Arrow against the driver's Arrow reader.
func (b *bench) asArrow(ctx context.Context, asking *client, db *sql.DB) error {
	const statement = "SELECT * EXCLUDE (transcript, metadata, summary) FROM calls"
	want := 2 * b.rows
	var ratios, ours, theirs sample
	for range b.rounds {
		if err := theirs.timed(func() error { return driverArrow(ctx, db, statement, want) }); err != nil {
			return err
		}
		if err := ours.timed(func() error { return asking.query(ctx, statement, "arrow", discard) }); err != nil {
			return err
		}
	}
	for i := range ours {
		ratios = append(ratios, theirs[i]/ours[i])
	}
	speed := func(s sample) string { return thousands(int(float64(want) / s.median() * 1e3)) }
	b.table.add(row{"SQL: " + thousands(want) + " calls without their texts as Arrow, over HTTP", "the driver's Arrow " +
		"reader, in the process", fmt.Sprintf("≥ %g× rows/s", targetArrowOut),
		fmt.Sprintf("%s rows/s against %s", speed(ours), speed(theirs)),
		result(ratios.ratio(), ratios.median() >= targetArrowOut)})
	return nil
}

func driverArrow(ctx context.Context, db *sql.DB, statement string, want int) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // returns the connection to the pool
	return conn.Raw(func(raw any) error {
		arrow, err := duckdb.NewArrowFromConn(raw.(driver.Conn))
		if err != nil {
			return err
		}
		reader, err := arrow.QueryContext(ctx, statement)
		if err != nil {
			return err
		}
		defer reader.Release()
		return countRows(reader, want)
	})
}

func countRows(reader array.RecordReader, want int) error {
	rows := 0
	for reader.Next() {
		rows += int(reader.RecordBatch().NumRows())
	}
	if reader.Err() == nil && rows != want {
		return fmt.Errorf("%d rows, not %d", rows, want)
	}
	return reader.Err()
}

// query runs a statement by the API. read consumes the response.
func (c *client) query(ctx context.Context, statement, format string, read func(io.Reader) error) error {
	asked, err := json.Marshal(map[string]any{"sql": statement, "format": format, "timeout_ms": 300_000})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/v1/query", bytes.NewReader(asked))
	if err != nil {
		return err
	}
	request.Header.Set("X-Api-Key", c.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(response.Body) // the status is reported anyway
		return fmt.Errorf("query: %s: %s", response.Status, said)
	}
	if err := read(response.Body); err != nil {
		return err
	}
	for _, said := range []http.Header{response.Header, response.Trailer} { // a long result reports errors in the trailer
		if said.Get("X-Truncated") == "no" {
			return nil
		}
	}
	return fmt.Errorf("query: the result is not whole: %s", statement)
}
