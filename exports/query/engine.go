package query

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// engine is an in-memory DuckDB with one connection. It is used through its C interface, since the driver for database/sql reads a
// whole result into memory before it hands out the first row, and does not tell what kind of statement it has.
type engine struct {
	db   duckdb.Database
	conn duckdb.Connection
}

func openEngine(settings map[string]string) (*engine, error) {
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		return nil, fmt.Errorf("configure DuckDB")
	}
	defer duckdb.DestroyConfig(&config)
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

// statement is the one statement of a user, prepared, alone or within one of ours.
type statement struct {
	engine   *engine
	prepared duckdb.PreparedStatement
	text     string // the user's
	before   int    // bytes of ours before it
	alone    bool   // it may not stand within another
}

// prepare parses a text, and refuses it unless DuckDB's parser finds one statement in it, and one that only reads.
func (e *engine) prepare(text string) (*statement, error) {
	if strings.ContainsRune(text, 0) {
		return nil, &Failure{Kind: ErrSQL, Message: "The statement holds a zero byte"}
	}
	var found duckdb.ExtractedStatements
	count := duckdb.ExtractStatements(e.conn, text, &found)
	defer duckdb.DestroyExtracted(&found)
	switch {
	case count == 0:
		if message := duckdb.ExtractStatementsError(found); message != "" {
			return nil, explain(text, 0, message)
		}
		return nil, &Failure{Kind: ErrSQL, Message: "There is no statement"}
	case count > 1:
		return nil, &Failure{Kind: ErrSQL, Message: "There is more than one statement (a PIVOT needs its values named: ON column IN (…))"}
	}
	s := &statement{engine: e, text: text, alone: true}
	if duckdb.PrepareExtractedStatement(e.conn, found, 0, &s.prepared) == duckdb.StateError {
		defer s.close()
		return nil, s.explain(duckdb.PrepareError(s.prepared))
	}
	switch duckdb.PreparedStatementType(s.prepared) {
	case duckdb.StatementTypeExplain:
		return s, nil
	case duckdb.StatementTypeSelect:
		selects, alone, err := e.selects(text)
		if s.alone = alone; err != nil || selects {
			return s, err
		}
	}
	s.close()
	return nil, &Failure{Kind: ErrSQL, Message: "Only statements that read are run: SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN"}
}

func (s *statement) close() { duckdb.DestroyPrepare(&s.prepared) }

// selects tells whether a text is one as it stands: DuckDB turns some PRAGMAs into SELECTs before it prepares them. Alone tells whether it may not
// stand within another, since something in it asks for an order, as SHOW and DESCRIBE do, runs a text of its own, which may, or shows what stands around it.
func (e *engine) selects(text string) (selects, alone bool, err error) {
	var prepared duckdb.PreparedStatement
	defer duckdb.DestroyPrepare(&prepared)
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	const asks = `SELECT tree->>'error_type' IS DISTINCT FROM 'not implemented', tree->>'error' IS DISTINCT FROM 'false' OR regexp_matches(tree::VARCHAR,
		'"ORDER_MODIFIER","orders":\[\{|"SHOW_REF"|"function_name":"(query|query_table|json_execute_serialized_sql|current_query|duckdb_functions)"')
		FROM (SELECT json_serialize_sql($1::VARCHAR) AS tree)`
	if duckdb.Prepare(e.conn, asks, &prepared) == duckdb.StateError || duckdb.BindVarchar(prepared, 1, text) == duckdb.StateError {
		return false, false, explain("", 0, duckdb.PrepareError(prepared))
	}
	if duckdb.ExecutePrepared(prepared, &result) == duckdb.StateError {
		return false, false, explain("", 0, duckdb.ResultError(&result))
	}
	chunk := duckdb.FetchChunk(result)
	defer duckdb.DestroyDataChunk(&chunk)
	told := func(column duckdb.IdxT) bool {
		return *(*bool)(duckdb.VectorGetData(duckdb.DataChunkGetVector(chunk, column)))
	}
	return told(0), told(1), nil
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
		if position, err := strconv.Atoi(detail.Position); err == nil && position >= before && position-before <= len(text) {
			passed := text[:position-before]
			line := passed[strings.LastIndexByte(passed, '\n')+1:]
			f.Line, f.Column = 1+strings.Count(passed, "\n"), 1+utf8.RuneCountInString(line)
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

// converted is a chunk of the rows as Arrow, to be released.
func (r *rows) converted(chunk duckdb.DataChunk) (arrow.RecordBatch, error) {
	batch, fault := duckdb.DataChunkToArrowArray(r.options, r.schema, chunk)
	defer duckdb.DestroyErrorData(&fault)
	if duckdb.ErrorDataHasError(fault) {
		return nil, r.statement.explain(duckdb.ErrorDataMessage(fault))
	}
	return batch, nil
}
