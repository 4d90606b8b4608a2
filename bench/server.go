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
	"github.com/voicory/warehouse/warehouse/control"
)

// withFile calls use with a connection to a tenant's file, opened without a warehouse. It has default settings, except
// those that affect how a page is read and written.
func withFile(ctx context.Context, path string, use func(*sql.DB) error) (err error) {
	db, err := sql.Open("duckdb", path)
	if err != nil {
		return fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx,
		"SET GLOBAL TimeZone = 'UTC'; SET GLOBAL late_materialization_max_rows = 0"); err != nil {
		return fmt.Errorf("set up DuckDB: %w", err)
	}
	return use(db)
}

// texts returns the first column of a query's rows.
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

// A server serves the API of a data folder in this process, and includes a client for it.
type server struct {
	warehouse *warehouse.Warehouse
	*client
}

// A client makes requests to a server over one persistent connection.
type client struct {
	http     *http.Client
	url, key string
}

func newClient(url, key string) *client {
	return &client{&http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, ReadBufferSize: 64 << 10}}, url, key}
}

// discard reads to the end, with a buffer of the size that a download client would use.
func discard(from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, from, make([]byte, 1<<20))
	return err
}

// serving opens a data folder and serves it while use runs.
func serving(ctx context.Context, data string, use func(*server) error) (err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, key, err := w.CreateKey(ctx, tenantID, control.Public, control.KeySettings{Label: "bench"})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	api := &http.Server{Handler: httpapi.New(httpapi.Options{Store: w, Log: slog.New(slog.DiscardHandler)}),
		ReadHeaderTimeout: 10 * time.Second}
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

// get returns the body of a response. It reads to the end, so that the connection can be used again.
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
