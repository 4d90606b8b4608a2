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
	pageRows  = 10_000   // rows per FETCH; the server's statement timeout applies to each FETCH
	chunkSize = 64 << 10 // bytes of NDJSON that are prepared at a time
)

// A rowReader reads the rows of a cursor as NDJSON. At the end it requests the first page of the next reader, so that
// the server looks for those rows while the rows of this reader are merged.
type rowReader struct {
	ctx     context.Context // context of the pull; Read has no parameter for it
	conn    *pgconn.PgConn
	fetch   string                                                    // FETCH statement
	action  string                                                    // for error messages
	wrap    func(ctx context.Context, action string, err error) error // wraps an error of the database
	onPage  func(rows int64)
	decoder textDecoder

	encoders []columnEncoder
	formats  []int16              // wire format of each column
	page     *pgconn.Pipeline     // pipeline in which the FETCH was sent; nil: not sent
	results  *pgconn.ResultReader // results of the page; nil: no response yet
	rows     int64                // rows read of the page
	lines    []byte               // NDJSON that has not been read yet
	buffer   []byte               // memory of lines
	err      error                // error that follows lines; io.EOF at the end
	next     *rowReader           // reader of the next table; nil: none
}

// openRows returns a reader of the cursor's rows, which decoder converts to UTF-8. It asks the server for the columns.
// onPage is called with the number of rows of each page.
func openRows(
	ctx context.Context, conn *pgconn.PgConn, cursor, action string, decoder textDecoder, onPage func(int64),
	wrap func(context.Context, string, error) error,
) (*rowReader, error) {
	fetch := fmt.Sprintf("FETCH %d FROM %s", pageRows, cursor)
	r := &rowReader{ctx: ctx, conn: conn, fetch: fetch, action: action, decoder: decoder, onPage: onPage, wrap: wrap}
	described, err := conn.Prepare(ctx, "", r.fetch, nil)
	if err != nil {
		return nil, wrap(ctx, action, err)
	}
	for _, d := range described.Fields {
		f := newColumnEncoder(d.Name, d.DataTypeOID)
		r.encoders, r.formats = append(r.encoders, f), append(r.formats, f.format())
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

// fetchPage requests the next page. It does not wait for the response.
func (r *rowReader) fetchPage() error {
	r.page, r.results, r.rows = r.conn.StartPipeline(r.ctx), nil, 0
	r.page.SendQueryParams(r.fetch, nil, nil, nil, r.formats)
	return r.page.Sync()
}

// fill prepares the next lines, and sets err at the end of the rows or after a failure.
func (r *rowReader) fill() {
	line := r.buffer[:0]
	for r.err == nil && len(line) < chunkSize {
		more, err := r.nextRow()
		switch {
		case err != nil:
			r.err = r.wrap(r.ctx, r.action, err)
		case more:
			r.rows++
			line = appendRow(line, r.encoders, r.decoder, r.results.Values())
		default:
			last := r.rows < pageRows
			r.onPage(r.rows)
			if r.err = r.wrap(r.ctx, r.action, r.endPage()); r.err == nil && last {
				r.err = r.startNext()
			}
		}
	}
	r.buffer, r.lines = line, line
}

// nextRow advances to the next row of the page and reports whether there is one. It requests the page if that was not
// done yet.
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
		r.results = results.(*pgconn.ResultReader) // the pipeline contains nothing but the query
	}
	return r.results.NextRow(), nil
}

// startNext requests the first page of the next reader. It returns io.EOF if that succeeds.
func (r *rowReader) startNext() error {
	if r.next != nil {
		if err := r.next.fetchPage(); err != nil {
			return r.wrap(r.ctx, r.next.action, err)
		}
	}
	return io.EOF
}

// endPage ends the current page, so that the connection can be used for the next statement.
func (r *rowReader) endPage() error {
	var err error
	if r.results != nil {
		_, err = r.results.Close()
	}
	closed := r.page.Close()
	r.page, r.results = nil, nil
	return cmp.Or(err, closed)
}

// complete reports whether all rows have been read.
func (r *rowReader) complete() bool {
	return errors.Is(r.err, io.EOF) && !errors.Is(r.err, io.ErrUnexpectedEOF)
}

// close ends the current page if the reader was not read to its end.
func (r *rowReader) close() error {
	if r.page == nil {
		return nil
	}
	return r.wrap(r.ctx, r.action, r.endPage())
}
