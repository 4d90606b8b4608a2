package postgres

import (
	"cmp"
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

// rowReader reads the rows of a cursor as NDJSON. No row is held beyond the line that is made of it. When it has come to the end, the server
// begins with the rows of next: it looks for them while others are merged.
type rowReader struct {
	ctx     context.Context
	conn    *pgconn.PgConn
	fetch   string
	doing   string
	counted func(rows int64)

	fields  []field
	formats []int16
	page    *pgconn.Pipeline     // in which the fetch was sent; nil: it was not
	results *pgconn.ResultReader // of the page; nil: the server has not been heard
	rows    int64                // of the page, so far
	lines   []byte               // not read yet
	buffer  []byte
	err     error      // why there are no more lines than these: io.EOF at the end
	next    *rowReader // nil: none
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

// fetchPage asks for the next page, and does not wait for it.
func (r *rowReader) fetchPage() error {
	r.page, r.results, r.rows = r.conn.StartPipeline(r.ctx), nil, 0
	r.page.SendQueryParams(r.fetch, nil, nil, nil, r.formats)
	return r.page.Sync()
}

// fill makes lines ready.
func (r *rowReader) fill() {
	line := r.buffer[:0]
	for r.err == nil && len(line) < chunkSize {
		more, err := r.nextRow()
		switch {
		case err != nil:
			r.err = explain(r.ctx, r.doing, err)
		case more:
			r.rows++
			line = appendRow(line, r.fields, r.results.Values())
		default:
			last := r.rows < pageRows
			r.counted(r.rows)
			if r.err = explain(r.ctx, r.doing, r.endPage()); r.err == nil && last {
				r.err = r.end()
			}
		}
	}
	r.buffer, r.lines = line, line
}

// nextRow goes to the next row of the page, if there is one; the page is fetched unless it was.
func (r *rowReader) nextRow() (bool, error) {
	if r.page == nil {
		if err := r.fetchPage(); err != nil {
			return false, err
		}
	}
	if r.results == nil {
		results, err := r.page.GetResults()
		if err != nil {
			return false, err
		}
		r.results = results.(*pgconn.ResultReader) // it was asked for nothing else
	}
	return r.results.NextRow(), nil
}

// end has the server begin with what comes next.
func (r *rowReader) end() error {
	if r.next != nil {
		if err := r.next.fetchPage(); err != nil {
			return explain(r.ctx, r.next.doing, err)
		}
	}
	return io.EOF
}

// endPage frees the connection for the next statement.
func (r *rowReader) endPage() error {
	var err error
	if r.results != nil {
		_, err = r.results.Close()
	}
	closed := r.page.Close()
	r.page, r.results = nil, nil
	return cmp.Or(err, closed)
}

// ended says whether all rows were made into lines.
func (r *rowReader) ended() bool {
	return errors.Is(r.err, io.EOF) && !errors.Is(r.err, io.ErrUnexpectedEOF)
}

// close ends the page, where reading was given up early.
func (r *rowReader) close() error {
	if r.page == nil {
		return nil
	}
	return explain(r.ctx, r.doing, r.endPage())
}
