package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
)

// A Conn is a data folder on which operations run: in this process, or in the server that has the folder open.
type Conn struct {
	local  *Local  // nil: a server has the folder open
	remote *client // nil: this process has the folder open
}

// Local is a data folder that this process has open.
type Local struct {
	Warehouse *warehouse.Warehouse
	Sources   *schedule.Scheduler
	Queries   *query.Runner
	// Slots bounds the queries. A server shares it with its API, and the operator counts as one tenant.
	Slots *admission.Controller
	// Address is the URL of the API; "" without a server.
	Address string
	// Standalone means that no server publishes in the background, so that operations do it.
	Standalone bool
}

// Options are the options of Open.
type Options struct {
	Warehouse           warehouse.Options
	AllowUnsandboxedSQL bool // run SQL of users even if the kernel lacks a protection of the sandbox
}

// Open connects to the server that has the data folder open. If no server runs, it opens the folder in this process.
func Open(ctx context.Context, options Options) (*Conn, error) {
	conn, err := dialServer(ctx, warehouse.SocketPath(options.Warehouse.Dir))
	if conn != nil || err != nil {
		return conn, err
	}
	w, err := warehouse.Open(ctx, options.Warehouse)
	if err != nil {
		return nil, err
	}
	queries, err := query.New(query.Options{Files: w, AllowUnsandboxed: options.AllowUnsandboxedSQL})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &Conn{local: &Local{
		Warehouse: w, Sources: schedule.New(w), Queries: queries,
		Slots: httpapi.NewSlots(httpapi.DefaultConcurrent)[httpapi.Queries], Standalone: true,
	}}, nil
}

// dialServer returns a connection to the server that listens on the socket, or nil if no server listens on it.
func dialServer(ctx context.Context, socket string) (*Conn, error) {
	// Lstat does not follow a symbolic link. To open the folder refuses one.
	info, _ := os.Lstat(socket) // if it fails, opening the folder does, too, or no server has run in it
	if info == nil || info.Mode().Type() != fs.ModeSocket {
		return nil, nil
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() && os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: %s belongs to user %d; run voicory as that user",
			warehouse.ErrNotWritable, socket, owner)
	}
	probe, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		return Dial(socket), probe.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EINVAL):
		return nil, nil // a leftover of a killed server
	}
	return nil, fmt.Errorf("connect to the server at %s: %w", socket, err)
}

// Dial returns a connection to the server that listens on the socket.
func Dial(socket string) *Conn { return &Conn{remote: newClient(socket)} }

// Close closes the connection, or the data folder if this process has it open.
func (c *Conn) Close() error {
	if c.local == nil {
		c.remote.http.CloseIdleConnections()
		return nil
	}
	c.local.Queries.Close()
	return c.local.Warehouse.Close()
}

// requireTenant returns warehouse.ErrNotFound if the tenant does not exist. Without this check, an export or a query
// would create the tenant.
func (l *Local) requireTenant(ctx context.Context, id uuid.UUID) error {
	tenants, err := l.Warehouse.Tenants(ctx)
	if err == nil && !slices.ContainsFunc(tenants, func(t control.Tenant) bool { return t.ID == id }) {
		err = fmt.Errorf("%w: no tenant %s; run `voicory tenants list` for their ids", warehouse.ErrNotFound, id)
	}
	return err
}
