package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	statements "github.com/voicory/warehouse/sql"
)

// Options of a warehouse; the zero value of each but Dir is a sensible default.
type Options struct {
	Dir         string // the data folder, made when it is missing
	MemoryLimit string // DuckDB's, for all tenants together; default 600MB
	Quarantine  int64  // bytes that the refused rows may take; default 1 GiB
}

// Warehouse is an open data folder. It is safe for concurrent use; Close it.
type Warehouse struct {
	dir      string
	lock     *os.File
	instance *duckdb.Connector // the one DuckDB of this process, in memory itself
	loader   *sql.DB           // connections for staging; they move from tenant to tenant
	control  *sql.DB

	signing     []byte // the secret that signs what clients bring back
	keys        keyring
	requests    requestLog
	tenants     tenantPool
	refused     quarantine
	exportCache duckdbExportCache
	unknown     unknownFields

	reading    *semaphore.Weighted // a place for each reader
	staging    *semaphore.Weighted // a place for each staged batch of those that take turns
	publishing *semaphore.Weighted // a place for each edition that is written
}

const (
	warehouseDir  = "warehouse"
	lakeDir       = "lake"
	quarantineDir = "quarantine"
	tempDir       = "tmp"
	defaultMemory = "600MB"
	defaultRoom   = 1 << 30
)

// Open opens the data folder, making it if need be, and takes it for this process alone: a folder in use is ErrInUse,
// one that cannot be written ErrNotWritable. What a crash left unfinished is cleared away.
func Open(ctx context.Context, opts Options) (_ *Warehouse, err error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", opts.Dir, err)
	}
	if strings.Contains(dir, "?") {
		return nil, fmt.Errorf("%w: data folder %s: DuckDB takes a question mark in a path for options; choose another with --data", ErrInvalid, dir)
	}
	w := &Warehouse{dir: dir, refused: quarantine{room: cmp.Or(opts.Quarantine, defaultRoom)}, reading: semaphore.NewWeighted(int64(maxReaders)),
		exportCache: duckdbExportCache{files: map[uuid.UUID][]*CachedDatabase{}, builds: map[uuid.UUID]*exportBuild{}},
		staging:     semaphore.NewWeighted(maxStaged), publishing: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := w.takeFolder(); err != nil {
		return nil, err
	}
	if err := w.openInstance(ctx, opts); err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", w.diagnose(err))
	}
	if w.control, err = w.attach(ctx, "control", filepath.Join(dir, "control.duckdb"), largeBlock); err != nil {
		return nil, fmt.Errorf("open control database: %w", w.diagnose(err))
	}
	w.control.SetMaxOpenConns(1) // so that its small writes come one after the other instead of into conflict
	if err := w.keys.load(ctx, w.control); err != nil {
		return nil, err
	}
	if w.signing, err = loadSigningSecret(filepath.Join(dir, "signing.key")); err != nil {
		return nil, fmt.Errorf("signing secret: %w", w.diagnose(err))
	}
	w.tenants.init(w)
	return w, nil
}

// Close writes everything down and lets go of the folder.
func (w *Warehouse) Close() error {
	var errs []error
	w.keys.end()
	if w.control != nil {
		errs = append(errs, w.SaveRequests(context.Background()))
	}
	errs = append(errs, w.tenants.close())
	for _, db := range []*sql.DB{w.control, w.loader} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if w.instance != nil {
		errs = append(errs, w.instance.Close()) // checkpoints what is attached
	}
	if w.lock != nil {
		errs = append(errs, w.lock.Close()) // releases it
	}
	return errors.Join(errs...)
}

// Ping tells whether the warehouse answers.
func (w *Warehouse) Ping(ctx context.Context) error {
	var version int
	return w.control.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version)
}

// Dir is the data folder, absolute.
func (w *Warehouse) Dir() string { return w.dir }

// TempDir is for files that only a running command needs; what a crash leaves in it is removed at the next start.
func (w *Warehouse) TempDir() string { return filepath.Join(w.dir, tempDir) }

// SocketPath is where a server that has dir open listens for the operator.
func SocketPath(dir string) string { return filepath.Join(dir, "voicory.sock") }

// takeFolder makes the folder's parts, takes its lock and clears what a crash has left.
func (w *Warehouse) takeFolder() error {
	refuse := func(err error) error {
		switch {
		case errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("%w: %s", ErrNoSpace, w.dir)
		case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%w: %w; choose another with --data", ErrNotWritable, err)
		}
		return fmt.Errorf("data folder %s: %w", w.dir, err)
	}
	for _, part := range []string{warehouseDir, lakeDir, quarantineDir, tempDir} {
		if err := mkdirDurable(filepath.Join(w.dir, part)); err != nil {
			return refuse(err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(w.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return refuse(err)
	}
	w.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner := make([]byte, 32)
		n, _ := lock.ReadAt(owner, 0) // the process id is a help, not a need
		return fmt.Errorf("%w: %s belongs to process %s; wait for it, or share the folder by running `voicory serve`",
			ErrInUse, w.dir, strings.TrimSpace(string(owner[:n])))
	}
	if err := lock.Truncate(0); err != nil {
		return refuse(err)
	}
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return refuse(err)
	}
	if err := errors.Join(sweep(w.dir), emptyDir(w.TempDir())); err != nil {
		return refuse(err)
	}
	return nil
}

// openInstance starts DuckDB with settings that hold for every connection. Nothing may be loaded from a network.
func (w *Warehouse) openInstance(ctx context.Context, opts Options) (err error) {
	if opts.MemoryLimit == "" {
		opts.MemoryLimit = defaultMemory
	}
	set := []string{
		"SET GLOBAL TimeZone = 'UTC'",
		"SET GLOBAL preserve_insertion_order = false",  // statements that need an order say so; the rest takes less memory
		"SET GLOBAL late_materialization_max_rows = 0", // pages are bounded by their hours: reading whole rows at once is quicker
		"SET GLOBAL autoinstall_known_extensions = false",
		"SET GLOBAL autoload_known_extensions = false",
		"SET GLOBAL enable_external_file_cache = false", // the system keeps what is read of Parquet; pages need the memory more
		"SET GLOBAL memory_limit = " + statements.Text(opts.MemoryLimit),
		"SET GLOBAL temp_directory = " + statements.Text(filepath.Join(w.dir, tempDir)),
	}
	set = append(set, statements.Get("stage/macros"))
	if w.instance, err = duckdb.NewConnector("", nil); err != nil {
		return err
	}
	w.loader = sql.OpenDB(w.instance)
	for _, statement := range set {
		if _, err := w.loader.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return addCSVField(ctx, w.loader)
}
