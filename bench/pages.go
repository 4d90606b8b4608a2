package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	pageRows   = 25
	requests   = 240 // requests per case in all rounds together
	targetDeep = 4.0 // × the first page's SQL
	targetHTTP = 1.0 // ms above the call in the process

	differentIDs = 1000 // number of different ids that are requested
)

// A readCase is a request to a tenant that can be made by SQL, by a call in the process, and over HTTP. i is the number
// of the request.
type readCase struct {
	name      string
	statement string // statement that the server runs
	args      func(i int) []any
	call      func(ctx context.Context, w *warehouse.Warehouse, i int) ([]string, error)
	path      func(i int) string

	sql, inside, http sample // ms of each request
}

// pages measures reads: the first page, the last page, and one call by its id.
func (b *bench) pages(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	var asks []*readCase
	var deep sample
	each := (requests + b.rounds - 1) / b.rounds
	for i := range b.rounds {
		var begun []int // index of this round's first figure, by case
		err := withFile(ctx, big.path(), func(db *sql.DB) (err error) {
			if asks == nil {
				if asks, err = b.readCases(ctx, db); err != nil {
					return err
				}
			}
			for _, a := range asks {
				begun = append(begun, len(a.sql))
				if err := a.measureSQL(ctx, db, each); err != nil {
					return fmt.Errorf("%s: SQL: %w", a.name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := serving(ctx, big.data, func(s *server) error {
			for _, a := range asks {
				if err := a.measureServer(ctx, s, each); err != nil {
					return fmt.Errorf("%s: %w", a.name, err)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for k, a := range asks {
			logf("round %d: %s: SQL %.1f ms, in process %.1f ms, HTTP %.1f ms", i+1, a.name,
				a.sql[begun[k]:].median(), a.inside[begun[k]:].median(), a.http[begun[k]:].median())
		}
		deep = append(deep, asks[1].http[begun[1]:].median()/asks[0].sql[begun[0]:].median())
	}
	first, last := asks[0], asks[1]
	b.table.add(row{last.name + " of " + thousands(2*b.rows) + " calls, HTTP", first.name + ", SQL alone",
		fmt.Sprintf("≤ %g×", targetDeep),
		fmt.Sprintf("%.2f ms against %.2f ms", last.http.median(), first.sql.median()),
		result(deep.ratio(), deep.median() <= targetDeep)})
	for _, a := range asks {
		adds := a.http.median() - a.inside.median()
		b.table.add(row{a.name + " of " + thousands(2*b.rows) + " calls, HTTP", "the same call in the process",
			fmt.Sprintf("adds ≤ %g ms", targetHTTP),
			fmt.Sprintf("SQL alone %.2f ms, in process %.2f ms, HTTP %.2f ms: %+.2f ms to SQL alone", a.sql.median(),
				a.inside.median(), a.http.median(), a.http.median()-a.sql.median()),
			result(fmt.Sprintf("%+.2f ms", adds), adds <= targetHTTP)})
	}
	return nil
}

// readCases returns the cases: the first page, the last page, and calls from all over the table by their ids.
func (b *bench) readCases(ctx context.Context, db *sql.DB) ([]*readCase, error) {
	last := (2*b.rows + pageRows - 1) / pageRows
	first, err := page(ctx, db, 1)
	if err != nil {
		return nil, err
	}
	deep, err := page(ctx, db, last)
	if err != nil {
		return nil, err
	}
	one, err := oneByID(ctx, db)
	if err != nil {
		return nil, err
	}
	return []*readCase{first, deep, one}, nil
}

// oneByID returns the case of reading calls from all over the table by id, in random order.
func oneByID(ctx context.Context, db *sql.DB) (*readCase, error) {
	ids, err := texts(ctx, db, fmt.Sprintf("SELECT id::VARCHAR FROM calls ORDER BY hash(id) LIMIT %d", differentIDs))
	if err != nil {
		return nil, err
	}
	id := func(i int) string { return ids[i%len(ids)] }
	return &readCase{
		name: "one by id", statement: statements.Page("detail", schema.Calls.Name),
		args: func(i int) []any { return []any{sql.Named("id", id(i))} },
		call: func(ctx context.Context, w *warehouse.Warehouse, i int) ([]string, error) {
			item, err := w.Get(ctx, tenantID, schema.Calls, uuid.MustParse(id(i)))
			return []string{item}, err
		},
		path: func(i int) string { return "/api/v1/calls/" + id(i) },
	}, nil
}

// page returns the case of reading page n. The server bounds the statement by the hours that contain the page. The SQL
// alone gets the same bounds, computed here in another way.
func page(ctx context.Context, db *sql.DB, n int) (*readCase, error) {
	offset := int64(n-1) * pageRows
	var from, before time.Time
	var rest int64
	err := db.QueryRowContext(ctx, `
		WITH bounds AS (
			SELECT date_trunc('hour', min(created_at)) AS since, date_trunc('hour', max(created_at)) + INTERVAL 1 HOUR AS until
			FROM (FROM calls ORDER BY created_at DESC, id LIMIT $limit OFFSET $offset))
		SELECT since, until, $offset - (SELECT count(*) FROM calls WHERE created_at >= until) FROM bounds`,
		sql.Named("limit", pageRows+1), sql.Named("offset", offset)).Scan(&from, &before, &rest)
	if err != nil {
		return nil, fmt.Errorf("find the bounds of page %d: %w", n, err)
	}
	args := []any{sql.Named("from", from), sql.Named("before", before), sql.Named("limit", pageRows+1),
		sql.Named("offset", rest), sql.Named("after", nil), sql.Named("after_id", nil)}
	for _, filter := range []string{"status", "direction", "assistant_id", "phone_number"} {
		args = append(args, sql.Named(filter, nil))
	}
	return &readCase{
		name: "page " + thousands(n), statement: statements.Page("list", schema.Calls.Name),
		args: func(int) []any { return args },
		call: func(ctx context.Context, w *warehouse.Warehouse, _ int) ([]string, error) {
			page, err := w.List(ctx, tenantID, schema.Calls, warehouse.Listing{Limit: pageRows, Offset: offset})
			return page.Items, err
		},
		path: func(int) string { return fmt.Sprintf("/api/v1/calls?page=%d&limit=%d", n, pageRows) },
	}, nil
}

// measureSQL measures the statement on the tenant's file, without the server.
func (a *readCase) measureSQL(ctx context.Context, db *sql.DB, n int) error {
	for i := range warmUps + n {
		var took sample
		if err := took.timed(func() error {
			_, err := texts(ctx, db, a.statement, a.args(i)...)
			return err
		}); err != nil {
			return err
		}
		if i >= warmUps {
			a.sql = append(a.sql, took...)
		}
	}
	return nil
}

// measureServer measures the call in the process and the request over HTTP in turns. It returns an error if the HTTP
// response lacks a row that the call returned.
func (a *readCase) measureServer(ctx context.Context, s *server, n int) error {
	for i := range warmUps + n {
		var items []string
		var body []byte
		var inside, overHTTP sample
		if err := errors.Join(
			inside.timed(func() (err error) { items, err = a.call(ctx, s.warehouse, i); return err }),
			overHTTP.timed(func() (err error) { body, err = s.get(ctx, a.path(i)); return err }),
		); err != nil {
			return err
		}
		if i >= warmUps {
			a.inside, a.http = append(a.inside, inside...), append(a.http, overHTTP...)
			continue
		}
		if !containsAll(body, items) {
			return fmt.Errorf("the response of %s differs from the result of the call in the process", a.path(i))
		}
	}
	return nil
}

// containsAll reports whether there are items and the response contains all of them.
func containsAll(body []byte, items []string) bool {
	return len(items) > 0 &&
		!slices.ContainsFunc(items, func(item string) bool { return !bytes.Contains(body, []byte(item)) })
}
