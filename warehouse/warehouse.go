package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"syscall"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/admission"
)

// Options of a warehouse; the zero value of each but Dir is a sensible default.
type Options struct {
	Dir         string       // the data folder, created if it is missing or empty
	MustExist   bool         // return ErrNotFound if the data folder is missing or empty
	LakeMode    LakeMode     // users that may read the lake; default: as stored with the folder, private for a new one
	MemoryLimit string       // DuckDB's, for all tenants together; default 600MB
	Quarantine  int64        // bytes that the refused rows may take; default 1 GiB
	Log         *slog.Logger // changes of the folder made by Open, and tenants that cannot be detached; nil: no log
}

// Warehouse is an open data folder. It is safe for concurrent use; Close it.
type Warehouse struct {
	dir      string // absolute, without symbolic links
	folder   *dataFolder
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

	reading    *admission.Controller // a place for each reader
	staging    *semaphore.Weighted   // a place for each staged batch of those that take turns
	publishing *semaphore.Weighted   // a place for each edition that is written
}

const (
	defaultMemory = "600MB"
	defaultRoom   = 1 << 30
)

// Open opens the data folder for this process alone. It creates a folder that is missing or empty, unless opts.MustExist is set,
// and removes the files that a crash has left unfinished. It returns ErrInvalid for a folder with foreign content or symbolic links,
// ErrInUse for a folder that another process has open, and ErrNotWritable if the folder belongs to another user. It sets the umask
// of the process to 0077.
func Open(ctx context.Context, opts Options) (_ *Warehouse, err error) {
	syscall.Umask(privateUmask)
	folder, err := openFolder(opts)
	if err != nil {
		return nil, err
	}
	w := &Warehouse{dir: folder.path, folder: folder, refused: quarantine{room: cmp.Or(opts.Quarantine, defaultRoom)},
		reading: admission.New(admission.Limits{
			Total: maxReaders, PerTenant: maxReaders - 1, PerKey: maxReaders - 1}),
		exportCache: duckdbExportCache{files: map[uuid.UUID][]*CachedDatabase{}, builds: map[uuid.UUID]*exportBuild{}},
		staging:     semaphore.NewWeighted(maxStaged), publishing: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := folder.take(); err != nil {
		return nil, err
	}
	if err := w.openInstance(ctx, opts); err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", w.diagnose(err))
	}
	if err := w.checkAdopted(ctx); err != nil {
		return nil, err
	}
	if w.control, err = w.attach(ctx, "control", folder.join(controlFile), largeBlock); err != nil {
		return nil, fmt.Errorf("open control database: %w", w.diagnose(err))
	}
	w.control.SetMaxOpenConns(1) // so that its small writes come one after the other instead of into conflict
	if err := w.keys.load(ctx, w.control); err != nil {
		return nil, err
	}
	if w.signing, err = folder.loadSigningSecret(); err != nil {
		return nil, fmt.Errorf("signing secret: %w", w.diagnose(err))
	}
	if err := folder.adopt(); err != nil {
		return nil, fmt.Errorf("mark the data folder: %w", w.diagnose(err))
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
	return errors.Join(append(errs, w.folder.close())...)
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
func SocketPath(dir string) string { return filepath.Join(dir, socketFile) }

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
