package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
)

// admin is the interface of the commands to a data folder. localAdmin implements it on an open folder, and remoteAdmin
// by requests to the server that has the folder open.
type admin interface {
	// Ingest loads a group of files, as ingest.Groups returns them.
	Ingest(ctx context.Context, files []ingest.Input) (ingest.Summary, error)
	// Sync pulls new rows from a source once. If the rows are counted, it calls progress with their numbers.
	Sync(ctx context.Context, spec sourceSpec, progress func(done, total int64)) (syncSummary, error)
	// Sources returns the scheduled sources, and then those that only a command has pulled from.
	Sources(ctx context.Context) ([]sourceStatus, error)
	// Quarantine yields at most limit refused rows.
	Quarantine(ctx context.Context, limit int64) iter.Seq2[warehouse.Refusal, error]
	// Replay ingests the refused rows of the named quarantine files again, or of all files if there are no names.
	Replay(ctx context.Context, files []string) (replaySummary, error)
	// RemoveQuarantined removes the named quarantine files.
	RemoveQuarantined(ctx context.Context, files []string) error
	// Export writes an export to out.
	Export(ctx context.Context, spec exportSpec, out io.Writer) (exportSummary, error)
	// Publish writes the stale partitions of the lake.
	Publish(ctx context.Context) (publication, error)
	CreateKey(
		ctx context.Context, tenant uuid.UUID, typ control.KeyType, settings control.KeySettings,
	) (createdKey, error)
	UpdateKey(ctx context.Context, id uuid.UUID, settings control.KeySettings) (control.Key, error)
	Keys(ctx context.Context) ([]control.Key, error)
	RevokeKey(ctx context.Context, id uuid.UUID) (control.Key, error)
	// Tenants returns the tenants and their conditions, oldest first.
	Tenants(ctx context.Context) ([]tenantStatus, error)
	// Query runs a statement and writes its result to out. If it returns an error, the result in out is incomplete.
	Query(ctx context.Context, request query.Request, out io.Writer) (query.Outcome, error)
	// Requests returns the newest entries of the request log.
	Requests(ctx context.Context, since time.Time, tenant uuid.NullUUID, limit int64) ([]control.Request, error)
	Close() error
}

// createdKey is a new key with its text. The text is returned only once; the warehouse stores its hash.
type createdKey struct {
	control.Key
	Text string `json:"key"`
}

// openAdmin returns a remoteAdmin if a server has the data folder open, and otherwise opens the folder. If the folder
// is missing or empty, it is created if create is true; otherwise openAdmin returns warehouse.ErrNotFound.
func (f *flags) openAdmin(ctx context.Context, create bool) (admin, error) {
	socket := warehouse.SocketPath(f.Data)
	// Lstat: a symbolic link is not followed. Opening the folder refuses it.
	if info, err := os.Lstat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() && os.Geteuid() != 0 {
			return nil, fmt.Errorf("%w: %s belongs to user %d; run voicory as that user",
				warehouse.ErrNotWritable, socket, owner)
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return dialAdmin(socket), conn.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("connect to the server at %s: %w", socket, err)
		}
	}
	w, err := f.open(ctx, create, f.Log)
	if err != nil {
		return nil, err
	}
	queries, err := query.New(query.Options{Files: w, AllowUnsandboxed: f.Query.AllowUnsandboxedSQL})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return localAdmin{
		w, newSources(w), queries, httpapi.NewSlots(httpapi.DefaultConcurrent)[httpapi.Queries], true,
	}, nil
}

// withAdmin calls do with the admin of the data folder. It returns warehouse.ErrNotFound if the folder does not exist.
func (f *flags) withAdmin(ctx context.Context, do func(admin) error) error {
	return f.with(ctx, false, do)
}

// withCreated is like withAdmin, but creates the data folder if it is missing or empty.
func (f *flags) withCreated(ctx context.Context, do func(admin) error) error {
	return f.with(ctx, true, do)
}

func (f *flags) with(ctx context.Context, create bool, do func(admin) error) error {
	api, err := f.openAdmin(ctx, create)
	if err != nil {
		return err
	}
	return errors.Join(do(api), api.Close())
}

func (f *flags) open(ctx context.Context, create bool, log *slog.Logger) (*warehouse.Warehouse, error) {
	return warehouse.Open(ctx, warehouse.Options{Dir: f.Data, MustExist: !create, LakeMode: warehouse.LakeMode(f.LakeMode),
		MemoryLimit: f.MemoryLimit, Log: log})
}

// localAdmin implements admin on an open warehouse.
type localAdmin struct {
	*warehouse.Warehouse
	*sources
	queries *query.Runner
	slots   *admission.Controller // slots for queries, shared with the API of a server; the operator counts as one tenant
	// standalone means that no server publishes in the background, so that commands do it.
	standalone bool
}

func (l localAdmin) Query(
	ctx context.Context, request query.Request, out io.Writer,
) (outcome query.Outcome, err error) {
	if err := l.requireTenant(ctx, request.Tenant); err != nil {
		return outcome, err
	}
	release, err := l.slots.Acquire(ctx, uuid.Nil, uuid.Nil)
	if err != nil {
		return outcome, fmt.Errorf("start the query: %w; try again later", err)
	}
	defer release()
	if l.standalone {
		// If it fails, Start returns the error.
		if _, err := l.PublishTenant(ctx, request.Tenant); ctx.Err() != nil {
			return outcome, err
		}
	}
	result, err := l.queries.Start(ctx, uuid.NewString(), request)
	if err != nil {
		return outcome, err
	}
	defer result.Close()
	if _, err = result.WriteTo(out); err != nil {
		return outcome, err
	}
	return *result.Outcome, nil
}

func (l localAdmin) Ingest(ctx context.Context, files []ingest.Input) (ingest.Summary, error) {
	return ingest.LoadFiles(ctx, l.Warehouse, files, "")
}

func (l localAdmin) CreateKey(
	ctx context.Context, tenant uuid.UUID, typ control.KeyType, settings control.KeySettings,
) (createdKey, error) {
	key, text, err := l.Warehouse.CreateKey(ctx, tenant, typ, settings)
	return createdKey{key, text}, err
}

func (l localAdmin) Keys(context.Context) ([]control.Key, error) { return l.Warehouse.Keys(), nil }
