package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
)

// withFile opens a tenant's file directly, without a warehouse, as DuckDB comes but for what decides how a page is written
// and read.
func withFile(ctx context.Context, path string, use func(*sql.DB) error) (err error) {
	db, err := sql.Open("duckdb", path)
	if err != nil {
		return fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "SET GLOBAL TimeZone = 'UTC'; SET GLOBAL late_materialization_max_rows = 0"); err != nil {
		return fmt.Errorf("set up DuckDB: %w", err)
	}
	return use(db)
}

// texts reads rows whose first column is a text, and returns those.
func texts(ctx context.Context, db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var text string
	row := []any{&text}
	for range columns[1:] {
		row = append(row, new(any))
	}
	var out []string
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

// server is the API of a data folder on a port of this machine, and a client of it.
type server struct {
	warehouse *warehouse.Warehouse
	*client
}

// client asks a server over one connection, which it keeps.
type client struct {
	http     *http.Client
	url, key string
}

func newClient(url, key string) *client {
	return &client{&http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, ReadBufferSize: 64 << 10}}, url, key}
}

// discard reads to the end, in pieces as large as a client that wants all of it would take.
func discard(from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, from, make([]byte, 1<<20))
	return err
}

// serving opens the data folder and serves it for as long as use takes.
func serving(ctx context.Context, data string, use func(*server) error) (err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, key, err := w.CreateKey(ctx, tenantID, warehouse.Public, warehouse.KeySettings{Label: "bench"})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	api := &http.Server{Handler: httpapi.New(httpapi.Options{Store: w, Log: slog.New(slog.DiscardHandler)}), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(listener) }()
	asking := newClient("http://"+listener.Addr().String(), key)
	defer func() {
		asking.http.CloseIdleConnections()
		err = errors.Join(err, api.Close())
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
	}()
	return use(&server{w, asking})
}

// get reads an answer to its end, so that its connection serves the next.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Api-Key", c.key)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", path, response.Status, body)
	}
	return body, nil
}
