package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	changedRows   = 100
	targetChanged = 5.0 // × the bare MERGE
	merges        = 20  // measured merges per round
	warmUps       = 3   // merges before them that are not measured
)

// smallMerge measures a typical small load: changed newest rows, merged into a large table.
func (b *bench) smallMerge(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	calls, err := lastCalls(big.file)
	if err != nil {
		return err
	}
	var ours, whole, bare, ratios sample
	for i := range b.rounds {
		our, load, err := b.mergeOurs(ctx, big, calls)
		if err != nil {
			return err
		}
		their, err := b.mergeBare(ctx, big)
		if err != nil {
			return err
		}
		logf("round %d: %d changed rows %.1f ms, bare MERGE %.1f ms", i+1, changedRows, our.median(), their.median())
		whole = append(whole, load...)
		ours, bare, ratios = append(ours, our...), append(bare, their...), append(ratios, our.median()/their.median())
	}
	b.table.add(row{fmt.Sprintf("merge of %d changed recent calls into %s", changedRows, thousands(2*b.rows)),
		"bare MERGE of staged rows on id and created_at",
		fmt.Sprintf("≤ %g×", targetChanged),
		fmt.Sprintf("%.1f ms against %.1f ms; with reading and typing the lines %.1f ms", ours.median(), bare.median(),
			whole.median()),
		result(ratios.ratio(), ratios.median() <= targetChanged)})
	return nil
}

// lastCalls returns the last lines of a file of calls.
func lastCalls(file string) ([]map[string]json.RawMessage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	last := make([][]byte, changedRows) // ring buffer
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

// nextCost returns a cost that no row has had before.
func (b *bench) nextCost() string {
	b.cost++
	return fmt.Sprintf("%d.%04d", 100+b.cost/10_000, b.cost%10_000)
}

// mergeOurs measures the merge of staged rows, and the whole load including staging from JSON lines. Neither includes
// publishing.
func (b *bench) mergeOurs(
	ctx context.Context,
	big *loaded,
	calls []map[string]json.RawMessage,
) (took, loads sample, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: big.data})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for range warmUps + merges {
		lines, err := linesOf(calls, b.nextCost())
		if err != nil {
			return nil, nil, err
		}
		start := time.Now()
		staged, err := w.Stage(ctx,
			warehouse.Batch{Dataset: schema.Calls, Tenant: tenantID, Origin: "changed", Rows: warehouse.Lines{Reader: lines}})
		lines.Release()
		if err != nil {
			return nil, nil, err
		}
		var counts schema.Counts
		if err := took.timed(func() (err error) {
			counts, _, err = staged.Merge(ctx)
			return err
		}); err != nil {
			return nil, nil, err
		}
		loads = append(loads, milliseconds(time.Since(start)))
		if counts.Changed != changedRows {
			return nil, nil, fmt.Errorf("%d rows were changed, not %d: %+v", counts.Changed, changedRows, counts)
		}
	}
	return took[warmUps:], loads[warmUps:], nil
}

// linesOf returns the calls as lines with the given cost.
func linesOf(calls []map[string]json.RawMessage, cost string) (array.RecordReader, error) {
	builder := array.NewRecordBuilder(mallocator.NewMallocator(), warehouse.LinesSchema)
	defer builder.Release()
	for i, call := range calls {
		call["cost"] = json.RawMessage(cost)
		text, err := json.Marshal(call)
		if err != nil {
			return nil, err
		}
		builder.Field(0).(*array.Int64Builder).Append(int64(i + 1))
		builder.Field(1).(*array.StringBuilder).BinaryBuilder.Append(text)
		builder.Field(2).(*array.StringBuilder).AppendNull()
	}
	batch := builder.NewRecordBatch()
	defer batch.Release()
	return array.NewRecordReader(warehouse.LinesSchema, []arrow.RecordBatch{batch})
}

// mergeBare measures the minimum that DuckDB needs: one committed MERGE of as many rows, which are in a temporary table
// with typed columns, and with the same columns changed.
func (b *bench) mergeBare(ctx context.Context, big *loaded) (took sample, err error) {
	db, err := sql.Open("duckdb", big.path())
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // the temporary table exists on one connection only
	stage := fmt.Sprintf(`CREATE OR REPLACE TEMP TABLE changed AS
		SELECT * REPLACE ($cost::DECIMAL(10, 4) AS cost, hash(_hash, $cost) AS _hash, _seq + 1 AS _seq)
		FROM calls ORDER BY created_at DESC, id LIMIT %d`, changedRows)
	for range warmUps + merges {
		if _, err := db.ExecContext(ctx, stage, sql.Named("cost", b.nextCost())); err != nil {
			return nil, fmt.Errorf("stage: %w", err)
		}
		var result sql.Result
		if err := took.timed(func() (err error) {
			result, err = db.ExecContext(ctx, `MERGE INTO calls USING changed ON calls.id = changed.id AND calls.created_at = `+
				`changed.created_at WHEN MATCHED THEN UPDATE`)
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
