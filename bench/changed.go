package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

const (
	changedRows  = 100
	reachChanged = 5.0 // × the bare MERGE
	merges       = 20  // measured in each round
	warmUps      = 3   // before these, not measured
)

// changed measures the usual small load: the newest rows, changed, into a large table.
func (b *bench) changed(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	calls, err := lastCalls(big.file)
	if err != nil {
		return err
	}
	var ours, bare, ratios sample
	for i := range b.rounds {
		our, err := b.mergeOurs(ctx, big, calls)
		if err != nil {
			return err
		}
		their, err := b.mergeBare(ctx, big)
		if err != nil {
			return err
		}
		note("round %d: %d changed rows %.1f ms, bare MERGE %.1f ms", i+1, changedRows, our.median(), their.median())
		ours, bare, ratios = append(ours, our...), append(bare, their...), append(ratios, our.median()/their.median())
	}
	b.table.add(row{fmt.Sprintf("%d changed recent calls into %s", changedRows, thousands(2*b.rows)), "bare MERGE of staged rows on id and created_at",
		fmt.Sprintf("≤ %g×", reachChanged), fmt.Sprintf("%.1f ms against %.1f ms", ours.median(), bare.median()),
		verdict(ratios.ratio(), ratios.median() <= reachChanged)})
	return nil
}

// lastCalls reads the last lines of a file of calls.
func lastCalls(file string) ([]map[string]json.RawMessage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	last := make([][]byte, changedRows) // a ring
	lines := bufio.NewScanner(f)
	n := 0
	for ; lines.Scan(); n++ {
		last[n%changedRows] = append(last[n%changedRows][:0], lines.Bytes()...)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	calls := make([]map[string]json.RawMessage, changedRows)
	for i, line := range last {
		if err := json.Unmarshal(line, &calls[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	return calls, nil
}

// nextCost is a cost that no row has had.
func (b *bench) nextCost() string {
	b.cost++
	return fmt.Sprintf("%d.%04d", 100+b.cost/10_000, b.cost%10_000)
}

// mergeOurs times ingest.Load, which is what a user gets: beyond Merge it makes a reader with a buffer for the longest
// line (16 MiB) and cuts the lines. The lake is brought up to date by another call, which is not in it.
func (b *bench) mergeOurs(ctx context.Context, big *loaded, calls []map[string]json.RawMessage) (took sample, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: big.data})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for range warmUps + merges {
		var body bytes.Buffer
		cost := json.RawMessage(b.nextCost())
		encoder := json.NewEncoder(&body)
		for _, call := range calls {
			call["cost"] = cost
			if err := encoder.Encode(call); err != nil {
				return nil, err
			}
		}
		var summary ingest.Summary
		if err := took.timed(func() (err error) {
			summary, err = ingest.Load(ctx, w, ingest.Input{Name: "calls.ndjson", Body: &body, Tenant: tenantID})
			return err
		}); err != nil {
			return nil, err
		}
		if summary.Changed != changedRows {
			return nil, fmt.Errorf("%d rows were changed, not %d: %+v", summary.Changed, changedRows, summary.Counts)
		}
	}
	return took[warmUps:], nil
}

// mergeBare times the least that DuckDB can do for it: one MERGE, committed, of as many rows that lie ready in a
// temporary table with every column typed, and with the same columns changed.
func (b *bench) mergeBare(ctx context.Context, big *loaded) (took sample, err error) {
	db, err := sql.Open("duckdb", big.path())
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // the temporary table is the connection's
	stage := fmt.Sprintf(`CREATE OR REPLACE TEMP TABLE changed AS
		SELECT * REPLACE ($cost::DECIMAL(10, 4) AS cost, hash(_hash, $cost) AS _hash, _seq + 1 AS _seq) FROM calls ORDER BY created_at DESC, id LIMIT %d`, changedRows)
	for range warmUps + merges {
		if _, err := db.ExecContext(ctx, stage, sql.Named("cost", b.nextCost())); err != nil {
			return nil, fmt.Errorf("stage: %w", err)
		}
		var result sql.Result
		if err := took.timed(func() (err error) {
			result, err = db.ExecContext(ctx, `MERGE INTO calls USING changed ON calls.id = changed.id AND calls.created_at = changed.created_at WHEN MATCHED THEN UPDATE`)
			return err
		}); err != nil {
			return nil, fmt.Errorf("bare MERGE: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil || n != changedRows {
			return nil, errors.Join(err, fmt.Errorf("the bare MERGE changed %d rows, not %d", n, changedRows))
		}
	}
	return took[warmUps:], nil
}
