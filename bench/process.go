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
	"strings"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver

	"github.com/voicory/warehouse/ingest"
	statements "github.com/voicory/warehouse/sql"
)

// A processResult describes a process that has succeeded.
type processResult struct {
	took    time.Duration
	used    time.Duration // processor time
	peak    float64       // peak memory in MiB
	written float64       // MB written to files
	out     []byte
}

// run runs a program to its end. The peak memory is measured by the kernel, which also counts the time between fork and
// exec, when the child is as large as this process. Therefore this process does not open DuckDB before the last of
// these runs.
func run(ctx context.Context, program string, args ...string) (f processResult, err error) {
	syscall.Sync() // so that it does not wait for earlier writes
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
	f.peak, f.used = float64(usage.Maxrss)/float64(perMiB), usedTime(usage)
	f.written = float64(usage.Oublock) * 512 / 1e6
	return f, nil
}

// usedTime returns the processor time of programs and of the kernel.
func usedTime(usage *syscall.Rusage) time.Duration {
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// processorTime returns the processor time of a running process in seconds.
func processorTime(process int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of a process: %w", err)
	}
	var programs, kernel float64 // the fields 14 and 15
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &programs, &kernel); err != nil {
		return 0, fmt.Errorf("read the processor time of a process: %w", err)
	}
	const ticks = 100 // per second, on every Linux that Go supports
	return (programs + kernel) / ticks, nil
}

// voicoryIngest runs `voicory ingest` of a file of calls: it loads the rows and publishes the Parquet.
func (b *bench) voicoryIngest(
	ctx context.Context,
	data, file string,
) (f processResult, summary ingest.Summary, err error) {
	f, err = run(ctx, b.voicory, "ingest", "--json", "--data", data, "--dataset", "calls", file)
	if err != nil {
		return f, summary, err
	}
	if err := json.Unmarshal(f.out, &summary); err != nil {
		return f, summary, fmt.Errorf("read the summary of voicory ingest: %w", err)
	}
	return f, summary, nil
}

// duckdbCommand is the hidden command with which this program runs itself as the baseline of an ingest.
const duckdbCommand = "duckdb-alone"

// duckdbIngest loads the file with DuckDB alone, in a process of its own.
func duckdbIngest(ctx context.Context, dir, file string) (processResult, error) {
	self, err := os.Executable()
	if err != nil {
		return processResult{}, err
	}
	return run(ctx, self, duckdbCommand, file, dir)
}

// runDuckDBLoad loads a table, and writes the table, its turns and its costs by day as Parquet, with default settings.
// It runs in the process that duckdbIngest starts. It does not cast types, merge, look up existing rows, sort, or parse
// transcripts that are texts.
func runDuckDBLoad(ctx context.Context, file, dir string) (err error) {
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
		`COPY (SELECT id AS call_id, created_at, assistant_id, direction, status,
				unnest(from_json(transcript, '[{"speaker":"VARCHAR","text":"VARCHAR"}]'), recursive := true)
			FROM calls WHERE json_type(transcript) = 'ARRAY')` + into("transcript_turns"),
		"COPY (SELECT created_at::DATE AS day, direction, provider, assistant_id, status, count(*), sum(cost) FROM calls " +
			"GROUP BY ALL)" + into("cost_daily"),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("DuckDB alone: %w", err)
		}
	}
	return nil
}
