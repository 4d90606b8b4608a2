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

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/warehouse"
)

type queryCommand struct {
	SQL     string        `arg:"" optional:"" help:"One statement that reads; without it, what comes on the standard input, or a prompt."`
	Tenant  string        `help:"Whose rows to ask." required:"" placeholder:"UUID"`
	Format  string        `help:"table, json (a list of objects), csv, arrow, parquet or ndjson; default: table on a terminal, else csv." enum:"auto,table,json,csv,arrow,parquet,ndjson" default:"auto" placeholder:"FORMAT"`
	Limit   int64         `help:"At most so many rows; default: 1000 of a table, else 10000000." placeholder:"N"`
	Timeout time.Duration `help:"How long it may take (${default})." default:"30s" placeholder:"TIME"`

	AllowUnsandboxedSQL bool `name:"allow-unsandboxed-sql" help:"If no server runs: run SQL even if the kernel lacks a protection of the sandbox. The others stay active."`
}

const formatTable = "table"

// Run runs a statement, or one after the other as they are typed.
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
	return f.withAdmin(ctx, func(o operator) error {
		session := sqlSession{operator: o, tenant: tenant, format: c.Format, limit: c.Limit, timeout: c.Timeout, out: m.Stdout}
		if c.SQL != "" {
			return session.run(ctx, c.SQL, nil)
		}
		if stdin, ok := m.Stdin.(*os.File); ok && isTerminal(stdin) {
			lines := newLineEditor()
			defer func() { _ = lines.Close() }() // the terminal is as it was, or gone
			return session.interact(ctx, lines)
		}
		text, err := io.ReadAll(io.LimitReader(m.Stdin, query.MaxStatement+1))
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		return session.run(ctx, string(text), nil)
	})
}

// asker asks an operator and prints what comes.
type sqlSession struct {
	operator operator
	tenant   uuid.UUID
	format   string
	limit    int64
	timeout  time.Duration
	out      io.Writer
}

// tableRows is how many rows of a table are shown, and held.
const tableRows = 1000

// ask runs one statement with parameters (nil: none) and prints its result.
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
		if err := s.operator.Query(ctx, request, &answer); err != nil {
			return err
		}
		return printTable(s.out, answer.Bytes())
	case query.JSON:
		request.Format = query.NDJSON
		list := &arrayWriter{out: bufio.NewWriter(s.out)}
		if err := s.operator.Query(ctx, request, list); err != nil {
			return err
		}
		return list.end()
	}
	return s.operator.Query(ctx, request, s.out)
}

// objectList makes lines of objects a list of them.
type arrayWriter struct {
	out   *bufio.Writer
	begun bool
	line  bool // one has ended, and the next has not begun
}

func (l *arrayWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case !l.begun:
			_, _ = l.out.WriteString("[\n") // an error stays until Flush
		case l.line:
			_, _ = l.out.WriteString(",\n")
		}
		l.begun, l.line = true, false
		if b == '\n' { // there is none within a row
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

// lineReader reads what is typed, line by line.
type lineEditor interface {
	// Prompt shows the prompt and reads a line; io.EOF at the end.
	Prompt(prompt string) (string, error)
	AppendHistory(line string)
	Close() error
}

const promptHelp = `A statement ends with ; and may have several lines.
.tables         the relations
.schema TABLE   the columns of one, and what they mean
.help           this
.quit           the end, as Ctrl-D is
`

// converse asks what is typed, until the end.
func (s sqlSession) interact(ctx context.Context, lines lineEditor) error {
	fmt.Fprintln(s.out, "Statements end with ; and .help shows what else there is.")
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
			err = s.run(ctx, "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal ORDER BY name", nil)
		case word == ".schema":
			err = s.run(ctx, "SELECT column_name AS name, data_type AS type, comment FROM duckdb_columns() WHERE NOT internal AND table_name = $1 ORDER BY column_index", []string{strings.TrimSpace(rest)})
		default:
			fmt.Fprint(s.out, promptHelp)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintln(s.out, err)
		}
	}
}
