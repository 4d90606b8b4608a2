package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	pageRows  = 10_000   // of a fetch: each is a statement of its own to the server's timeouts
	chunkSize = 64 << 10 // of lines that are made ready at a time
)

// rowReader reads the rows of a cursor as NDJSON. No row is held beyond the line that is made of it.
type rowReader struct {
	ctx     context.Context
	conn    *pgconn.PgConn
	fetch   string
	doing   string
	counted func(rows int64)

	fields  []field
	formats []int16
	page    *pgconn.ResultReader // nil: the next is to be fetched
	rows    int64                // of the page, so far
	lines   []byte               // not read yet
	buffer  []byte
	err     error // why there are no more lines than these: io.EOF at the end
}

// openRows asks what columns the cursor has.
func openRows(ctx context.Context, conn *pgconn.PgConn, cursor, doing string, counted func(int64)) (*rowReader, error) {
	r := &rowReader{ctx: ctx, conn: conn, fetch: fmt.Sprintf("FETCH %d FROM %s", pageRows, cursor), doing: doing, counted: counted}
	described, err := conn.Prepare(ctx, "", r.fetch, nil)
	if err != nil {
		return nil, explain(ctx, doing, err)
	}
	for _, d := range described.Fields {
		f := newField(d.Name, d.DataTypeOID)
		r.fields, r.formats = append(r.fields, f), append(r.formats, f.format())
	}
	return r, nil
}

func (r *rowReader) Read(p []byte) (int, error) {
	if len(r.lines) == 0 {
		r.fill()
	}
	if len(r.lines) == 0 {
		return 0, r.err
	}
	n := copy(p, r.lines)
	r.lines = r.lines[n:]
	return n, nil
}

// fill makes lines ready.
func (r *rowReader) fill() {
	line := r.buffer[:0]
	for r.err == nil && len(line) < chunkSize {
		if r.page == nil {
			r.page, r.rows = r.conn.ExecParams(r.ctx, r.fetch, nil, nil, nil, r.formats), 0
		}
		if r.page.NextRow() {
			r.rows++
			line = appendRow(line, r.fields, r.page.Values())
			continue
		}
		_, err := r.page.Close()
		r.page = nil
		r.counted(r.rows)
		switch {
		case err != nil:
			r.err = explain(r.ctx, r.doing, err)
		case r.rows < pageRows:
			r.err = io.EOF
		}
	}
	r.buffer, r.lines = line, line
}

// ended says whether all rows were made into lines.
func (r *rowReader) ended() bool {
	return errors.Is(r.err, io.EOF) && !errors.Is(r.err, io.ErrUnexpectedEOF)
}

// close frees the connection for the next statement, where reading was given up early.
func (r *rowReader) close() error {
	if r.page == nil {
		return nil
	}
	_, err := r.page.Close()
	r.page = nil
	return explain(r.ctx, r.doing, err)
}
