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
)

// operator is what commands do to a data folder. It is either the folder itself, or the server that has it open.
type operator interface {
	// Ingest takes one file in.
	Ingest(ctx context.Context, in ingest.Input) (ingest.Summary, error)
	// RefuseFile puts a file that cannot be opened into quarantine.
	RefuseFile(ctx context.Context, refusal warehouse.Refusal) error
	// Sync pulls from a source what is new. progress is told of rows, where they are counted.
	Sync(ctx context.Context, spec sourceSpec, progress func(done, total int64)) (syncSummary, error)
	// Sources lists what is pulled on a schedule, and what ever was pulled.
	Sources(ctx context.Context) ([]sourceStatus, error)
	// Quarantine yields refused rows, at most limit.
	Quarantine(ctx context.Context, limit int64) iter.Seq2[warehouse.Refusal, error]
	// Replay takes refused rows in again: those of files of the quarantine, or all.
	Replay(ctx context.Context, files []string) (replaySummary, error)
	// Export writes rows in bulk.
	Export(ctx context.Context, spec exportSpec, out io.Writer) (exportSummary, error)
	// Publish brings the lake up to date with what was taken in.
	Publish(ctx context.Context) (warehouse.Published, error)
	CreateKey(ctx context.Context, tenant uuid.UUID, typ warehouse.KeyType, settings warehouse.KeySettings) (createdKey, error)
	UpdateKey(ctx context.Context, id uuid.UUID, settings warehouse.KeySettings) (warehouse.Key, error)
	Keys(ctx context.Context) ([]warehouse.Key, error)
	RevokeKey(ctx context.Context, id uuid.UUID) (warehouse.Key, error)
	Tenants(ctx context.Context) ([]warehouse.Tenant, error)
	// Query runs a statement and writes its result; where it fails midway, what was written is not whole.
	Query(ctx context.Context, request query.Request, out io.Writer) error
	// Requests reads the request log.
	Requests(ctx context.Context, since time.Time, tenant uuid.NullUUID, limit int64) ([]warehouse.Request, error)
	Close() error
}

// createdKey is a new key with its text, which is shown this once.
type createdKey struct {
	warehouse.Key
	Text string `json:"key"`
}

// operate returns the operator of the data folder: the server that has it open, if there is one, else the folder
// itself. A folder that is missing or empty is created if create is set, and is ErrNotFound otherwise.
func (f *flags) openAdmin(ctx context.Context, create bool) (operator, error) {
	socket := warehouse.SocketPath(f.Data)
	// A symbolic link is not followed here either; opening the folder refuses it.
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
			return nil, fmt.Errorf("ask the server at %s: %w", socket, err)
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
	return local{w, newSources(w), queries, httpapi.NewSlots(httpapi.DefaultConcurrent)[httpapi.Queries]}, nil
}

// withOperator runs do with the operator of the data folder, which must exist.
func (f *flags) withAdmin(ctx context.Context, do func(operator) error) error {
	return f.with(ctx, false, do)
}

// withCreated runs do with the operator of the data folder, which is created if it is missing or empty.
func (f *flags) withCreated(ctx context.Context, do func(operator) error) error {
	return f.with(ctx, true, do)
}

func (f *flags) with(ctx context.Context, create bool, do func(operator) error) error {
	o, err := f.openAdmin(ctx, create)
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.Close())
}

func (f *flags) open(ctx context.Context, create bool, log *slog.Logger) (*warehouse.Warehouse, error) {
	return warehouse.Open(ctx, warehouse.Options{Dir: f.Data, MustExist: !create, LakeMode: warehouse.LakeMode(f.LakeMode),
		MemoryLimit: f.MemoryLimit, Log: log})
}

// local operates on an open warehouse.
type local struct {
	*warehouse.Warehouse
	*sources
	queries *query.Runner
	slots   *admission.Controller // for queries; the server's own, where the operator counts as one more tenant
}

func (l local) Query(ctx context.Context, request query.Request, out io.Writer) error {
	release, err := l.slots.Acquire(ctx, uuid.Nil, uuid.Nil)
	if err != nil {
		return fmt.Errorf("start the query: %w; try again later", err)
	}
	defer release()
	result, err := l.queries.Start(ctx, uuid.NewString(), request)
	if err != nil {
		return err
	}
	defer result.Close()
	_, err = result.WriteTo(out)
	return err
}

func (l local) Ingest(ctx context.Context, in ingest.Input) (ingest.Summary, error) {
	return ingest.Load(ctx, l.Warehouse, in)
}

func (l local) RefuseFile(_ context.Context, refusal warehouse.Refusal) error {
	return l.Warehouse.RefuseFile(refusal)
}

func (l local) CreateKey(ctx context.Context, tenant uuid.UUID, typ warehouse.KeyType, settings warehouse.KeySettings) (createdKey, error) {
	key, text, err := l.Warehouse.CreateKey(ctx, tenant, typ, settings)
	return createdKey{key, text}, err
}

func (l local) Keys(context.Context) ([]warehouse.Key, error) { return l.Warehouse.Keys(), nil }
