package worker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// An engine is an in-memory DuckDB with one connection, used through DuckDB's C API. The driver for database/sql is
// not used: it reads a whole result into memory before it returns the first row, and does not return the type of a
// statement.
type engine struct {
	db   duckdb.Database
	conn duckdb.Connection
	// serialize returns the parse tree of a text. It is prepared before the task is known, because preparing it takes
	// longer than running it.
	serialize duckdb.PreparedStatement
}

// openEngine opens DuckDB with the given settings.
func openEngine(settings map[string]string) (*engine, error) {
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		return nil, fmt.Errorf("configure DuckDB")
	}
	defer duckdb.DestroyConfig(&config)
	// The setting also selects the version of parse trees. Older versions leave out parts of a statement.
	if duckdb.SetConfig(config, "storage_compatibility_version", "latest") == duckdb.StateError {
		return nil, fmt.Errorf("configure DuckDB: storage_compatibility_version")
	}
	if duckdb.SetConfig(config, "arrow_lossless_conversion", "true") == duckdb.StateError { // see encode.Converter
		return nil, fmt.Errorf("configure DuckDB: arrow_lossless_conversion")
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
	allowList() // parses the list before the task is known
	return &e, nil
}

// exec runs trusted statements, which are not checked.
func (e *engine) exec(script string) error {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(e.conn, script, &result) == duckdb.StateError {
		return fmt.Errorf("set up: %s", duckdb.ResultError(&result))
	}
	return nil
}

// A statement is one statement of a user, checked and prepared.
type statement struct {
	engine   *engine
	prepared duckdb.PreparedStatement
	text     string // the user's text
	before   int    // offset of the user's text in the prepared text, in bytes; may be negative
}

// prepare parses a text, checks it and prepares it. It returns a Failure unless the text is exactly one statement that
// the check accepts. DuckDB binds no part of a statement that the check refuses.
func (e *engine) prepare(text string) (*statement, error) {
	if strings.ContainsRune(text, 0) {
		return nil, &protocol.Failure{Kind: protocol.ErrSQL, Message: "The statement holds a zero byte"}
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
	s := &statement{engine: e, text: text, before: len(prefix) - begin}
	if duckdb.Prepare(e.conn, prefix+text[begin:], &s.prepared) == duckdb.StateError {
		defer s.close()
		return nil, s.explain(duckdb.PrepareError(s.prepared))
	}
	want := duckdb.StatementTypeSelect
	if prefix != "" {
		want = duckdb.StatementTypeExplain
	}
	if got := duckdb.PreparedStatementType(s.prepared); got != want { // not the statement that was checked
		defer s.close()
		return nil, fmt.Errorf("prepare a statement: got type %v, want %v", got, want)
	}
	return s, nil
}

// close releases the prepared statement.
func (s *statement) close() { duckdb.DestroyPrepare(&s.prepared) }

// tree returns the parse trees of the statements in a text, as JSON, without properties that have their default. It
// returns a Failure if the JSON is longer than maxTree.
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
		return "", &protocol.Failure{
			Kind:    protocol.ErrSQL,
			Message: "The statement is too long: pass lists of values as parameters",
		}
	}
	return duckdb.StringTData(tree), nil
}

// explain returns the failure for an error message of DuckDB about the statement.
func (s *statement) explain(message string) *protocol.Failure {
	return explain(s.text, s.before, message)
}

// explain returns the failure for an error message of DuckDB about a text. Positions in the message are reduced by
// before.
func explain(text string, before int, message string) *protocol.Failure {
	prefix, document := "", message
	if i := strings.Index(
		message,
		": {",
	); i >= 0 &&
		!strings.HasPrefix(message, "{") { // parser errors have a prefix: Parser Error: {…}
		document = message[i+2:]
	}
	var detail struct {
		Type     string `json:"exception_type"`
		Message  string `json:"exception_message"`
		Position string `json:"position"`
	}
	f := &protocol.Failure{Kind: protocol.ErrSQL, Message: message}
	if json.Unmarshal([]byte(document), &detail) == nil && detail.Type != "" {
		prefix = detail.Type
		f.Message = detail.Type + " Error: " + detail.Message
		if position, err := strconv.Atoi(detail.Position); err == nil {
			locate(f, text, position-before)
		}
	} else {
		prefix, _, _ = strings.Cut(message, " Error:")
	}
	switch prefix {
	case "Out of Memory":
		f.Message, _, _ = strings.Cut(f.Message, "\n") // the rest suggests settings that users cannot change
		f.Kind, f.Line, f.Column = protocol.ErrMemory, 0, 0
	case "INTERNAL", "FATAL", "Internal", "Fatal":
		return &protocol.Failure{Kind: protocol.ErrCrashed, Message: protocol.ErrCrashed.Error()}
	}
	return f
}

// locate sets the line and column of a failure for a byte offset in the text. It sets nothing if the offset is out of
// range.
func locate(f *protocol.Failure, text string, at int) {
	if at < 0 || at > len(text) {
		return
	}
	passed := text[:at]
	line := passed[strings.LastIndexByte(passed, '\n')+1:]
	f.Line, f.Column = 1+strings.Count(passed, "\n"), 1+utf8.RuneCountInString(line)
}
