package filereader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse/sandbox"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Argument is the only command-line argument of a process that is a file reader.
const Argument = "file-reader"

// Command returns the command that starts this program as a file reader.
func Command() ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{program, Argument}, nil
}

// Run is the main function of a file reader and returns its exit status. It reads tasks from standard input, and for
// each of them the file of an inherited descriptor. It writes the rows and a verdict to its output.
func Run() int {
	tasks := json.NewDecoder(os.Stdin)
	out := &frameWriter{out: os.NewFile(sandbox.FirstOutput, "output")}
	var r *reader
	for {
		var t task
		err := tasks.Decode(&t)
		if errors.Is(err, io.EOF) {
			return 0
		}
		if err == nil && r == nil {
			r, err = newReader(t)
		}
		if err == nil {
			err = r.read(t, out)
		}
		var v verdict
		if err != nil {
			v.Error = err.Error()
			if mend := (*tailError)(nil); errors.As(err, &mend) {
				v.Tail, v.From = mend.tail, mend.from
			}
			fmt.Fprintln(os.Stderr, err)
		}
		if out.end(v) != nil || err != nil {
			return 1
		}
	}
}

// A frameWriter writes the frames of the output.
type frameWriter struct{ out io.Writer }

// Write writes p as one frame.
func (w *frameWriter) Write(p []byte) (int, error) {
	if _, err := w.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p)))); err != nil {
		return 0, err
	}
	return w.out.Write(p)
}

// end ends the frames of a file with a verdict.
func (w *frameWriter) end(v verdict) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := w.Write(nil); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// A reader reads the files of a confined process.
type reader struct {
	file   *os.File
	engine *engine // nil: the process reads no Parquet
}

// newReader limits and confines this process for its first task. It opens DuckDB before the CPU limit and the
// confinement apply.
func newReader(t task) (*reader, error) {
	debug.SetMemoryLimit(Memory)
	if err := sandbox.LimitMemory(Memory); err != nil {
		return nil, err
	}
	r := &reader{}
	if t.Format == Parquet {
		var err error
		if r.engine, err = openEngine(); err != nil {
			return nil, err
		}
	}
	if err := sandbox.LimitCPU(t.CPU); err != nil {
		return nil, err
	}
	if _, err := sandbox.Confine(sandbox.Policy{ReadFiles: []int{fileDescriptor}, AllowUnsupported: true}); err != nil {
		return nil, err
	}
	r.file = os.NewFile(fileDescriptor, "file") // DuckDB opens the descriptor by number
	return r, nil
}

// read writes the rows of the file to out.
func (r *reader) read(t task, out io.Writer) error {
	dataset, err := schema.DatasetNamed(t.Dataset)
	if err != nil {
		return err
	}
	w := &rowWriter{out: bufio.NewWriterSize(out, 1<<20)}
	if t.Format == Parquet {
		err = readParquet(r.engine, r.file, dataset, w)
	} else {
		err = readArrow(r.file, dataset, w)
	}
	return errors.Join(err, w.out.Flush())
}

// A rowWriter writes rows as lines. It adds the unknown columns of the file to the first row, with null values. The
// warehouse then reports them like unknown fields of NDJSON.
type rowWriter struct {
	out     *bufio.Writer
	unknown []string // names of columns that the dataset does not have
	started bool     // the first row after fieldsOf was written
	row     []byte   // current row
	defect  string   // reason why the current row cannot be read, or empty
}

// Maximum number of unknown columns that are reported, and maximum length of such a name in runes. Both are above the
// limits of the warehouse.
const (
	maxUnknown     = 64
	maxUnknownName = 80
)

// fieldsOf returns the columns of a table that the dataset stores, by their index among names. The other columns are
// named as unknown fields in the next row.
func (w *rowWriter) fieldsOf(dataset schema.Dataset, names []string) (columns []column, err error) {
	fields, err := dataset.Headers(names)
	if err != nil {
		return nil, err
	}
	w.unknown, w.started = nil, false
	for i, name := range fields {
		typ, known := dataset.FieldType(name)
		if typ != "" {
			columns = append(columns, column{index: i, name: name, typ: typ, uuids: typ == "UUID"})
		} else if !known && len(w.unknown) < maxUnknown {
			runes := []rune(names[i])
			w.unknown = append(w.unknown, string(runes[:min(len(runes), maxUnknownName)]))
		}
	}
	return columns, nil
}

// write writes the current row, which must be a JSON object without line breaks, and its defect.
func (w *rowWriter) write() error {
	row := w.row
	if !w.started {
		w.started = true
		if len(w.unknown) > 0 {
			row = w.withUnknown(row)
		}
	}
	if w.defect != "" {
		row = slices.Concat([]byte{defectMark}, []byte(w.defect), []byte{defectEnd}, row)
	}
	_, err := w.out.Write(row)
	return errors.Join(err, w.out.WriteByte('\n'))
}

// A line of a row with a defect begins with defectMark and the reason, which ends with defectEnd. Neither a JSON object
// nor a reason contains them.
const (
	defectMark = '!'
	defectEnd  = '\t'
)

// ParseRow returns the JSON object and the defect of a line of [Rows]. The defect is empty if the row could be read.
func ParseRow(line []byte) (row []byte, defect string) {
	if len(line) == 0 || line[0] != defectMark {
		return line, ""
	}
	reason, row, _ := bytes.Cut(line[1:], []byte{defectEnd})
	return row, strings.ToValidUTF8(string(reason[:min(len(reason), maxMessage)]), "")
}

// withUnknown returns the row with the unknown columns as its first fields.
func (w *rowWriter) withUnknown(row []byte) []byte {
	var fields []string
	for _, name := range w.unknown {
		text, err := json.Marshal(name)
		if err != nil {
			continue // cannot happen for a string
		}
		fields = append(fields, string(text)+":null")
	}
	first := "{" + strings.Join(fields, ",")
	if len(row) > len("{}") {
		first += ","
	}
	return slices.Concat([]byte(first), row[1:])
}

// lower returns name with its ASCII letters in lower case. Column names in DuckDB are case-insensitive only for
// ASCII.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// A schemaChecker checks the columns of a schema before data is read.
type schemaChecker struct {
	names   map[string]bool // of top-level columns, in lower case
	columns int             // checked so far, including nested ones
}

// root returns an error if the name of a top-level column occurs twice, ignoring case.
func (c *schemaChecker) root(name string) error {
	name = lower(name)
	if c.names[name] {
		return fmt.Errorf("column %.80q occurs twice", name)
	}
	c.names[name] = true
	return nil
}

// column counts a column and returns an error if there are more than MaxColumns, or if depth exceeds MaxDepth.
func (c *schemaChecker) column(depth int) error {
	if c.columns++; c.columns > MaxColumns {
		return fmt.Errorf("it has more than %d columns", MaxColumns)
	}
	if depth > MaxDepth {
		return fmt.Errorf("a column is nested more than %d deep", MaxDepth)
	}
	return nil
}
