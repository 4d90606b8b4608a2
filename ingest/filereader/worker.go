package filereader

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

// Argument is the only argument of a program that is started as a file reader.
const Argument = "file-reader"

// Command returns the command that starts this program as a file reader.
func Command() ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{program, Argument}, nil
}

// Run is the program of a file reader. It receives a task on standard input and the file as a descriptor, writes the rows to its first
// output and a verdict to the second, and returns the exit status.
func Run() int {
	rows, verdicts := os.NewFile(sandbox.FirstOutput+rowsOutput, "rows"), os.NewFile(sandbox.FirstOutput+verdictOutput, "verdict")
	err := read(rows)
	v := verdict{}
	if err != nil {
		v.Error = err.Error()
		fmt.Fprintln(os.Stderr, err)
	}
	if errors.Join(rows.Close(), json.NewEncoder(verdicts).Encode(v)) != nil || err != nil {
		return 1
	}
	return 0
}

// read limits and confines this process, then reads the file.
func read(out io.Writer) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	dataset, err := warehouse.DatasetNamed(t.Dataset)
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(Memory)
	if err := sandbox.LimitMemory(Memory); err != nil {
		return err
	}
	var engine *engine
	if t.Format == Parquet {
		if engine, err = openEngine(); err != nil {
			return err
		}
	}
	if err := sandbox.LimitCPU(t.CPU); err != nil {
		return err
	}
	if _, err := sandbox.Confine(sandbox.Policy{ReadFiles: []int{fileDescriptor}, AllowUnsupported: true}); err != nil {
		return err
	}
	w := &rowWriter{out: bufio.NewWriterSize(out, 1<<20)}
	file := os.NewFile(fileDescriptor, "file")
	defer runtime.KeepAlive(file) // else the descriptor, which DuckDB opens by its number, is closed by a garbage collection
	if t.Format == Parquet {
		err = readParquet(engine, file, dataset, w)
	} else {
		err = readArrow(file, dataset, w)
	}
	return errors.Join(err, w.out.Flush())
}

// rowWriter writes rows as lines. The first row also names the unknown columns of the file, with null as their value: this is how
// unknown fields of NDJSON are found.
type rowWriter struct {
	out     *bufio.Writer
	unknown []string
	begun   bool
}

// Most unknown columns that are named, and most runes of a name: more than the warehouse keeps of each.
const (
	maxUnknown     = 64
	maxUnknownName = 80
)

// addColumn notes a column of the file, and reports whether the dataset keeps it, and the type of its values there.
func (w *rowWriter) addColumn(dataset warehouse.Dataset, name string) (typ string, kept bool) {
	typ, known := dataset.FieldType(lower(name))
	if !known && len(w.unknown) < maxUnknown {
		runes := []rune(name)
		w.unknown = append(w.unknown, string(runes[:min(len(runes), maxUnknownName)]))
	}
	return typ, typ != ""
}

// write writes a row, a JSON object without a line break.
func (w *rowWriter) write(row []byte) error {
	if !w.begun {
		w.begun = true
		if len(w.unknown) > 0 {
			row = w.withUnknown(row)
		}
	}
	_, err := w.out.Write(row)
	return errors.Join(err, w.out.WriteByte('\n'))
}

func (w *rowWriter) withUnknown(row []byte) []byte {
	var fields []string
	for _, name := range w.unknown {
		text, err := json.Marshal(name)
		if err != nil {
			continue // it cannot fail for a string
		}
		fields = append(fields, string(text)+":null")
	}
	first := "{" + strings.Join(fields, ",")
	if len(row) > len("{}") {
		first += ","
	}
	return slices.Concat([]byte(first), row[1:])
}

// lower returns a name in the lower case of ASCII. DuckDB does not distinguish columns beyond that.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// schemaChecker checks the schema of a file before its data is read.
type schemaChecker struct {
	names   map[string]bool
	columns int
}

// root checks the name of a column that is not within another.
func (c *schemaChecker) root(name string) error {
	name = lower(name)
	if c.names[name] {
		return fmt.Errorf("there are two columns %.80q", name)
	}
	c.names[name] = true
	return nil
}

// column checks a column, at the given nesting depth.
func (c *schemaChecker) column(depth int) error {
	if c.columns++; c.columns > MaxColumns {
		return fmt.Errorf("it has more than %d columns", MaxColumns)
	}
	if depth > MaxDepth {
		return fmt.Errorf("a column is nested more than %d deep", MaxDepth)
	}
	return nil
}
