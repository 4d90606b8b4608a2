package filereader

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Argument {
		os.Exit(Run())
	}
	m.Run()
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// smallParquet returns a Parquet file of about 2 KB with columns of several types.
func smallParquet(t testing.TB, compression string) []byte {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "out.parquet")
	_, err = db.ExecContext(context.Background(),
		`COPY (SELECT uuid() AS id, TIMESTAMP '2026-01-01' AS created_at, 'text ' || i AS summary, i % 3 = 0 AS odd, {'a': [i, NULL]} AS metadata,
		0.25::DECIMAL(10, 4) AS cost FROM range(20) AS r(i)) TO '`+path+`' (FORMAT parquet, COMPRESSION `+compression+`)`)
	noError(t, err)
	content, err := os.ReadFile(path)
	noError(t, err)
	return content
}

// smallArrow returns an Arrow stream of about 1 KB.
func smallArrow(t testing.TB, options ...ipc.Option) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "created_at",
		Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "metadata", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	builder.Field(0).(*array.StringBuilder).AppendValues([]string{"one", "two"}, nil)
	builder.Field(1).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{1, 2}, []bool{true, false})
	lists := builder.Field(2).(*array.ListBuilder)
	lists.Append(true)
	lists.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	lists.AppendNull()
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, append(options, ipc.WithSchema(schema))...)
	noError(t, errors.Join(writer.Write(builder.NewRecordBatch()), writer.Close()))
	return out.Bytes()
}

// maxRows is more than the number of rows of a small file.
const maxRows = 100_000

// readFile reads a file in a child and returns the number of rows and the reason of an *Error. It fails the test if
// reading ends with another error, or if a row is not one line of JSON.
func readFile(t testing.TB, format string, content []byte) (rows int, reason string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	noError(t, os.WriteFile(path, content, 0o600))
	file, err := os.Open(path)
	noError(t, err)
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command, err := Command()
	noError(t, err)
	s := NewSession(t.TempDir(), Options{Command: command, Dataset: "calls", Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	r, err := s.ReadFile(ctx, file, format)
	noError(t, err)
	defer r.Close()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var failure *Error
		switch {
		case errors.Is(err, io.EOF):
			return rows, ""
		case errors.As(err, &failure):
			return rows, failure.Reason
		case err != nil:
			t.Errorf("got %v, want the end or an *Error", err)
			return rows, err.Error()
		}
		if rows++; rows == maxRows {
			return rows, "" // a footer may declare any number of rows; the caller bounds it
		}
		if line, _ = ParseRow(line); format == Parquet && !json.Valid(line) && !bytes.Contains(line, []byte("NaN")) &&
			!bytes.Contains(line,
				[]byte("Infinity")) {
			t.Errorf("got the row %q, want JSON", line)
		}
	}
}

func TestReadFile_SmallFiles(t *testing.T) {
	for _, compression := range []string{"uncompressed", "snappy", "zstd"} {
		if rows, reason := readFile(t, Parquet, smallParquet(t, compression)); rows != 20 || reason != "" {
			t.Errorf("Parquet, %s: got %d rows and %q, want 20", compression, rows, reason)
		}
	}
	for name, content := range map[string][]byte{"plain": smallArrow(t), "LZ4": smallArrow(t, ipc.WithLZ4()),
		"zstd": smallArrow(t, ipc.WithZstd())} {
		if rows, reason := readFile(t, Arrow, content); rows != 2 || reason != "" {
			t.Errorf("Arrow, %s: got %d rows and %q, want 2", name, rows, reason)
		}
	}
}

// mutate returns content with one to four random changes.
func mutate(random *rand.Rand, content []byte) []byte {
	content = bytes.Clone(content)
	extremes := []byte{0, 1, 0x7f, 0x80, 0xff}
	for range 1 + random.IntN(4) {
		i := random.IntN(len(content))
		switch random.IntN(4) {
		case 0:
			content[i] ^= 1 << random.IntN(8)
		case 1:
			content[i] = extremes[random.IntN(len(extremes))]
		case 2:
			for j := i; j < min(i+1+random.IntN(8), len(content)); j++ {
				content[j] = 0xff
			}
		case 3:
			content = append(content[:i:i], content[min(i+random.IntN(8), len(content)-1):]...)
		}
	}
	return content
}

// Files with mutated bytes do not affect this process, even if a child crashes. The seed is fixed, so that failures
// can be reproduced.
func TestReadFile_MutatedFiles(t *testing.T) {
	files := map[string]map[string][]byte{
		Parquet: {"snappy": smallParquet(t, "snappy"), "uncompressed": smallParquet(t, "uncompressed")},
		Arrow:   {"plain": smallArrow(t), "LZ4": smallArrow(t, ipc.WithLZ4())},
	}
	const mutations = 12 // of each file; a child takes 0.1 s
	for format, contents := range files {
		for name, content := range contents {
			t.Run(format+" "+name, func(t *testing.T) {
				var group errgroup.Group
				group.SetLimit(maxChildren)
				for i := range mutations {
					group.Go(func() error {
						readFile(t, format, mutate(rand.New(rand.NewPCG(23, uint64(i))), content))
						return nil
					})
				}
				noError(t, group.Wait())
			})
		}
	}
}

// A changed byte in the metadata of an Arrow message can become a huge length. The child then fails with a reason.
func TestReadFile_ArrowLengths(t *testing.T) {
	content := smallArrow(t)
	reasons := map[string]int{}
	for i := 4; i < len(content); i += 11 {
		changed := bytes.Clone(content)
		changed[i] = 0x7f
		_, reason := readFile(t, Arrow, changed)
		reasons[reason]++
	}
	memory := 0
	for reason, n := range reasons {
		if strings.Contains(reason, "MiB of memory") || strings.Contains(reason, "contradicts itself") {
			memory += n
		}
	}
	if len(reasons) < 2 || memory == 0 {
		t.Errorf("got reasons %v, want at least two, one of them about memory or contradictions", reasons)
	}
}

func FuzzParquet(f *testing.F) {
	content := smallParquet(f, "snappy")
	f.Add(content)
	for i := range uint64(5) {
		f.Add(mutate(rand.New(rand.NewPCG(i, 1)), content))
	}
	f.Fuzz(func(t *testing.T, content []byte) { readFile(t, Parquet, content) })
}

func FuzzArrow(f *testing.F) {
	content := smallArrow(f)
	f.Add(content)
	for i := range uint64(5) {
		f.Add(mutate(rand.New(rand.NewPCG(i, 2)), content))
	}
	f.Fuzz(func(t *testing.T, content []byte) { readFile(t, Arrow, content) })
}
