package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/warehouse"
)

type queryCommand struct {
	SQL     string        `arg:"" optional:"" help:"One reading statement; default: standard input, or a prompt on a terminal."`
	Tenant  string        `help:"Tenant whose rows to query." required:"" placeholder:"UUID"`
	Format  string        `help:"table, json (an array of objects), csv, arrow, parquet or ndjson; default: table on a terminal, otherwise csv." enum:"auto,table,json,csv,arrow,parquet,ndjson" default:"auto" placeholder:"FORMAT"`
	Limit   int64         `help:"Maximum number of rows; default: 1000 for a table, otherwise 10000000." placeholder:"N"`
	Timeout time.Duration `help:"Maximum run time of a statement (${default})." default:"30s" placeholder:"TIME"`

	AllowUnsandboxedSQL bool `name:"allow-unsandboxed-sql" help:"Without a running server: run SQL even if the kernel lacks a protection of the sandbox. The other protections stay active."`
}

const formatTable = "table"

// Run runs one statement, or on a terminal the statements that the user types.
func (c *queryCommand) Run(ctx context.Context, m *Main, f *flags) error {
	tenant, err := uuid.Parse(c.Tenant)
	if err != nil {
		return fmt.Errorf("%w: --tenant: %w", warehouse.ErrInvalid, err)
	}
	switch {
	case c.Format != "auto":
	case f.JSON:
		c.Format = query.JSON
	case isTerminal(m.Stdout):
		c.Format = formatTable
	default:
		c.Format = query.CSV
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		session := sqlSession{
			conn: conn, tenant: tenant, format: c.Format, limit: c.Limit, timeout: c.Timeout, out: m.Stdout,
		}
		if c.SQL != "" {
			return session.run(ctx, c.SQL, nil)
		}
		if stdin, ok := m.Stdin.(*os.File); ok && isTerminal(stdin) {
			lines := newLineEditor()
			defer func() { _ = lines.Close() }() // fails only if the terminal is gone
			return session.interact(ctx, lines)
		}
		text, err := io.ReadAll(io.LimitReader(m.Stdin, query.MaxStatement+1))
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		return session.run(ctx, string(text), nil)
	})
}

// sqlSession runs statements of one tenant and prints their results.
type sqlSession struct {
	conn    *admin.Conn
	tenant  uuid.UUID
	format  string
	limit   int64
	timeout time.Duration
	out     io.Writer
}

// tableRows is the default maximum number of rows of a table, which is held in memory.
const tableRows = 1000

// run runs one statement and prints its result. params may be nil.
func (s sqlSession) run(ctx context.Context, sql string, params []string) error {
	request := query.Request{Tenant: s.tenant, SQL: sql, Format: s.format, Limit: s.limit, Timeout: s.timeout}
	if params != nil {
		text, err := json.Marshal(params)
		if err != nil {
			return err
		}
		request.Params = text
	}
	switch s.format {
	case formatTable:
		if request.Format = query.JSON; request.Limit == 0 {
			request.Limit = tableRows
		}
		var answer bytes.Buffer
		outcome, err := admin.Query.Write(ctx, s.conn, request, &answer)
		if err != nil {
			return err
		}
		if err := printTable(s.out, answer.Bytes()); err != nil {
			return err
		}
		return truncationError(outcome)
	case query.JSON:
		request.Format = query.NDJSON
		list := &arrayWriter{out: bufio.NewWriter(s.out)}
		outcome, err := admin.Query.Write(ctx, s.conn, request, list)
		if err != nil {
			return err
		}
		if err := list.end(); err != nil {
			return err
		}
		return truncationError(outcome)
	}
	outcome, err := admin.Query.Write(ctx, s.conn, request, s.out)
	if err != nil {
		return err
	}
	return truncationError(outcome)
}

// errTruncated is the error of a result that was printed and that a limit truncated.
var errTruncated = errors.New("the result is incomplete")

// truncationError returns an error if a limit truncated the result. Most formats cannot mark a result as truncated.
func truncationError(outcome query.Outcome) error {
	switch outcome.Truncated {
	case "":
		return nil
	case query.TruncatedRows:
		return fmt.Errorf("%w: it has more rows than the limit; raise --limit", errTruncated)
	}
	return fmt.Errorf("%w: it has more bytes than a result may have; select fewer columns or rows", errTruncated)
}

// arrayWriter converts NDJSON to a JSON array.
type arrayWriter struct {
	out   *bufio.Writer
	begun bool // the array was opened
	line  bool // a line has ended and the next has not begun
}

func (l *arrayWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case !l.begun:
			_, _ = l.out.WriteString("[\n") // Flush returns the first error
		case l.line:
			_, _ = l.out.WriteString(",\n")
		}
		l.begun, l.line = true, false
		if b == '\n' { // newlines inside strings are escaped
			l.line = true
			continue
		}
		_ = l.out.WriteByte(b)
	}
	return len(p), nil
}

func (l *arrayWriter) end() error {
	if !l.begun {
		_, _ = l.out.WriteString("[")
	}
	_, _ = l.out.WriteString("\n]\n")
	return l.out.Flush()
}

// lineEditor reads the lines that a user types.
type lineEditor interface {
	// Prompt prints the prompt and reads a line. It returns io.EOF at the end of the input.
	Prompt(prompt string) (string, error)
	AppendHistory(line string)
	Close() error
}

// Statements of .tables and .schema.
const (
	tablesStatement = "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal ORDER BY name"
	schemaStatement = "SELECT column_name AS name, data_type AS type, comment FROM duckdb_columns() " +
		"WHERE NOT internal AND table_name = $1 ORDER BY column_index"
)

const promptHelp = `A statement ends with ; and may have several lines.
.tables         list the tables
.schema TABLE   list the columns of a table with their descriptions
.help           print this help
.quit           quit, like Ctrl-D
`

// interact runs the statements and dot commands that the user types, until .quit or the end of the input. Errors of
// statements are printed.
func (s sqlSession) interact(ctx context.Context, lines lineEditor) error {
	fmt.Fprintln(s.out, "End each statement with ; and type .help for help.")
	var statement strings.Builder
	for {
		prompt := "voicory> "
		if statement.Len() > 0 {
			prompt = "    ...> "
		}
		line, err := lines.Prompt(prompt)
		if errors.Is(err, errAborted) {
			statement.Reset()
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a line: %w", err)
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case statement.Len() > 0 || !strings.HasPrefix(word, "."):
			if strings.TrimSpace(line) == "" && statement.Len() == 0 {
				continue
			}
			statement.WriteString(line + "\n")
			if !strings.HasSuffix(strings.TrimSpace(line), ";") {
				continue
			}
			sql := statement.String()
			statement.Reset()
			lines.AppendHistory(strings.ReplaceAll(strings.TrimSpace(sql), "\n", " "))
			err = s.run(ctx, sql, nil)
		case word == ".quit":
			return nil
		case word == ".tables":
			err = s.run(ctx, tablesStatement, nil)
		case word == ".schema":
			err = s.run(ctx, schemaStatement, []string{strings.TrimSpace(rest)})
		default:
			fmt.Fprint(s.out, promptHelp)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, errTruncated) { // the table says that it was truncated
			fmt.Fprintln(s.out, err)
		}
	}
}
