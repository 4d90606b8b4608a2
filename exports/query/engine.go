package query

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// engine is an in-memory DuckDB with one connection. It is used through its C interface, since the driver for
// database/sql reads a whole result into memory before it hands out the first row, and does not tell what kind of
// statement it has.
type engine struct {
	db   duckdb.Database
	conn duckdb.Connection
	// serialize writes the parse tree of a text. It is prepared before a task is known, since that takes most of its
	// time.
	serialize duckdb.PreparedStatement
}

func openEngine(settings map[string]string) (*engine, error) {
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		return nil, fmt.Errorf("configure DuckDB")
	}
	defer duckdb.DestroyConfig(&config)
	// The version of parse trees, too: in older ones, parts of a statement are missing.
	if duckdb.SetConfig(config, "storage_compatibility_version", "latest") == duckdb.StateError {
		return nil, fmt.Errorf("configure DuckDB: storage_compatibility_version")
	}
	for name, value := range settings {
		if duckdb.SetConfig(config, name, value) == duckdb.StateError {
			return nil, fmt.Errorf("configure DuckDB: %s", name)
		}
	}
	var e engine
	var message string
	if duckdb.OpenExt("", &e.db, config, &message) == duckdb.StateError {
		return nil, fmt.Errorf("open DuckDB: %s", message)
	}
	if duckdb.Connect(e.db, &e.conn) == duckdb.StateError {
		return nil, fmt.Errorf("connect to DuckDB")
	}
	const serialize = "SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true, " +
		"skip_default := true)"
	if duckdb.Prepare(e.conn, serialize, &e.serialize) == duckdb.StateError {
		return nil, fmt.Errorf("prepare the check of statements: %s", duckdb.PrepareError(e.serialize))
	}
	allowList() // reads it
	return &e, nil
}

// run runs a script of the program itself.
func (e *engine) run(script string) error {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(e.conn, script, &result) == duckdb.StateError {
		return fmt.Errorf("set up: %s", duckdb.ResultError(&result))
	}
	return nil
}

// statement is one statement of a user, checked and prepared, alone or within one of the program.
type statement struct {
	engine     *engine
	prepared   duckdb.PreparedStatement
	text       string // of the user
	before     int    // bytes by which positions in the text that DuckDB has prepared are greater than in text
	standalone bool   // it must not be put within another statement
}

// prepare parses a text, refuses it unless it is one statement made of what queries may use, and prepares it. DuckDB
// binds no part of a statement that is refused.
func (e *engine) prepare(text string) (*statement, error) {
	if strings.ContainsRune(text, 0) {
		return nil, &Failure{Kind: ErrSQL, Message: "The statement holds a zero byte"}
	}
	prefix, begin := cutExplain(text)
	tree, err := e.tree(text[begin:])
	if err != nil {
		return nil, err
	}
	c := checker{text: text, offset: begin, location: -1}
	if err := c.statement(tree); err != nil {
		return nil, err
	}
	// SHOW and DESCRIBE sort their results themselves.
	s := &statement{engine: e, text: text, before: len(prefix) - begin, standalone: prefix != "" || c.ordered || c.shows}
	if duckdb.Prepare(e.conn, prefix+text[begin:], &s.prepared) == duckdb.StateError {
		defer s.close()
		return nil, s.explain(duckdb.PrepareError(s.prepared))
	}
	want := duckdb.StatementTypeSelect
	if prefix != "" {
		want = duckdb.StatementTypeExplain
	}
	if got := duckdb.PreparedStatementType(s.prepared); got != want { // not the checked one
		defer s.close()
		return nil, fmt.Errorf("prepare a statement: got type %v, want %v", got, want)
	}
	return s, nil
}

func (s *statement) close() { duckdb.DestroyPrepare(&s.prepared) }

// tree returns the parse trees of the statements in a text as JSON, or why there are none. Defaults are left out.
func (e *engine) tree(text string) (string, error) {
	if duckdb.BindVarchar(e.serialize, 1, text) == duckdb.StateError {
		return "", explain(text, 0, duckdb.PrepareError(e.serialize))
	}
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.ExecutePrepared(e.serialize, &result) == duckdb.StateError {
		return "", explain(text, 0, duckdb.ResultError(&result))
	}
	chunk := duckdb.FetchChunk(result)
	defer duckdb.DestroyDataChunk(&chunk)
	tree := (*duckdb.StringT)(duckdb.VectorGetData(duckdb.DataChunkGetVector(chunk, 0)))
	if duckdb.StringTLength(*tree) > maxTree {
		return "", &Failure{Kind: ErrSQL, Message: "The statement is too long: pass lists of values as parameters"}
	}
	return duckdb.StringTData(tree), nil
}

// explain puts DuckDB's words about the statement into a failure.
func (s *statement) explain(message string) *Failure { return explain(s.text, s.before, message) }

// explain puts DuckDB's words about a text, before which it had so many bytes of ours, into a failure.
func explain(text string, before int, message string) *Failure {
	prefix, document := "", message
	if i := strings.Index(message, ": {"); i >= 0 && !strings.HasPrefix(message, "{") { // the parser's: Parser Error: {…}
		document = message[i+2:]
	}
	var detail struct {
		Type     string `json:"exception_type"`
		Message  string `json:"exception_message"`
		Position string `json:"position"`
	}
	f := &Failure{Kind: ErrSQL, Message: message}
	if json.Unmarshal([]byte(document), &detail) == nil && detail.Type != "" {
		prefix = detail.Type
		f.Message = detail.Type + " Error: " + detail.Message
		if position, err := strconv.Atoi(detail.Position); err == nil {
			f.locate(text, position-before)
		}
	} else {
		prefix, _, _ = strings.Cut(message, " Error:")
	}
	switch prefix {
	case "Out of Memory":
		f.Message, _, _ = strings.Cut(f.Message, "\n") // the rest is advice for whoever may change settings
		f.Kind, f.Line, f.Column = ErrMemory, 0, 0
	case "INTERNAL", "FATAL", "Internal", "Fatal":
		return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
	}
	return f
}

// locate sets the line and the column of a byte of the statement's text. A byte that is not in the text sets nothing.
func (f *Failure) locate(text string, at int) {
	if at < 0 || at > len(text) {
		return
	}
	passed := text[:at]
	line := passed[strings.LastIndexByte(passed, '\n')+1:]
	f.Line, f.Column = 1+strings.Count(passed, "\n"), 1+utf8.RuneCountInString(line)
}

// rows are those of a statement that is about to run.
type rows struct {
	statement *statement
	options   duckdb.ArrowOptions
	schema    *arrow.Schema
	columns   []column
	each      func(take func(arrow.RecordBatch) error) error // hands all rows over, to the end or to an error; a batch is lent
}

// column is a column of a result, and its type as DuckDB names it.
type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// rows are those of the statement, with such columns.
func (s *statement) rows(options duckdb.ArrowOptions, names []string, types []duckdb.LogicalType) (*rows, error) {
	r := &rows{statement: s, options: options}
	for i, t := range types {
		name, err := typeName(t)
		if err != nil {
			return nil, &Failure{Kind: ErrSQL, Message: fmt.Sprintf("The column %q is of type %s, which no format can hold: cast it, such as to VARCHAR", names[i], name)}
		}
		r.columns = append(r.columns, column{names[i], name})
	}
	schema, fault := duckdb.NewArrowSchema(options, types, names)
	defer duckdb.DestroyErrorData(&fault)
	if duckdb.ErrorDataHasError(fault) {
		return nil, s.explain(duckdb.ErrorDataMessage(fault))
	}
	r.schema = schema
	return r, nil
}

// converted returns a chunk of the rows as Arrow, to be released. Each byte of it is determined by the rows.
func (r *rows) toArrow(chunk duckdb.DataChunk) (arrow.RecordBatch, error) {
	batch, fault := arrowbatch.FromChunk(r.options, r.schema, chunk)
	defer duckdb.DestroyErrorData(&fault)
	if duckdb.ErrorDataHasError(fault) {
		return nil, r.statement.explain(duckdb.ErrorDataMessage(fault))
	}
	return batch, nil
}
