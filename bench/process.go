package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver

	"github.com/voicory/warehouse/ingest"
	statements "github.com/voicory/warehouse/sql"
)

// finished is a process that has ended well.
type finished struct {
	took time.Duration
	peak float64 // MiB of memory at its highest
	out  []byte
}

// run runs a program to its end. The peak is the kernel's own count; the kernel counts the moment between fork and exec
// too, when the child is as large as this process, hence no DuckDB is opened here before the last of such runs.
func run(ctx context.Context, program string, args ...string) (f finished, err error) {
	syscall.Sync() // or it would also pay for what was written before it
	command := exec.CommandContext(ctx, program, args...)
	var out, faults bytes.Buffer
	command.Stdout, command.Stderr = &out, &faults
	start := time.Now()
	err = command.Run()
	f.took, f.out = time.Since(start), out.Bytes()
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if err != nil {
		return f, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, bytes.TrimSpace(faults.Bytes()))
	}
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return f, errors.New("this system does not tell a process's memory")
	}
	perMiB := 1 << 10 // Linux counts KiB
	if runtime.GOOS == "darwin" {
		perMiB = 1 << 20
	}
	f.peak = float64(usage.Maxrss) / float64(perMiB)
	return f, nil
}

// voicoryIngest runs `voicory ingest` of a file of calls into a data folder: the rows and the published Parquet.
func (b *bench) voicoryIngest(ctx context.Context, data, file string) (f finished, summary ingest.Summary, err error) {
	f, err = run(ctx, b.voicory, "ingest", "--json", "--data", data, "--dataset", "calls", file)
	if err != nil {
		return f, summary, err
	}
	if err := json.Unmarshal(f.out, &summary); err != nil {
		return f, summary, fmt.Errorf("read the summary of voicory ingest: %w", err)
	}
	return f, summary, nil
}

// duckdbAlone is the hidden command with which this program runs itself as the other side of an ingest.
const duckdbAlone = "duckdb-alone"

// duckdbIngest has DuckDB alone do the same in a process of its own.
func duckdbIngest(ctx context.Context, dir, file string) (finished, error) {
	self, err := os.Executable()
	if err != nil {
		return finished{}, err
	}
	return run(ctx, self, duckdbAlone, file, dir)
}

// loadAlone is that process: DuckDB as it comes, a table in a file, and the table, its turns and its costs by day as Parquet. No types,
// no merge, no look at what is there already, no order, and no turns of transcripts that are texts.
func loadAlone(ctx context.Context, file, dir string) (err error) {
	db, err := sql.Open("duckdb", filepath.Join(dir, "alone.duckdb"))
	if err != nil {
		return fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	into := func(name string) string {
		return " TO " + statements.Text(filepath.Join(dir, name+".parquet")) + " (FORMAT parquet, COMPRESSION zstd)"
	}
	for _, statement := range []string{
		"CREATE TABLE calls AS FROM read_json(" + statements.Text(file) + ")",
		"COPY calls" + into("calls"),
		`COPY (SELECT id AS call_id, created_at, assistant_id, direction, status, unnest(from_json(transcript, '[{"speaker":"VARCHAR","text":"VARCHAR"}]'), recursive := true)
			FROM calls WHERE json_type(transcript) = 'ARRAY')` + into("transcript_turns"),
		"COPY (SELECT created_at::DATE AS day, direction, provider, assistant_id, status, count(*), sum(cost) FROM calls GROUP BY ALL)" + into("cost_daily"),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("DuckDB alone: %w", err)
		}
	}
	return nil
}
