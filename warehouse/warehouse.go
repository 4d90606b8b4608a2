package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/journal"
)

// Options are the settings of a warehouse. The zero value of each, except Dir, selects its default.
type Options struct {
	Dir         string       // the data folder, created if it is missing or empty
	MustExist   bool         // return ErrNotFound if the data folder is missing or empty
	LakeMode    LakeMode     // users that may read the lake; default: as stored with the folder, private for a new one
	MemoryLimit string       // memory limit of DuckDB, for all tenants together; default 600MB
	Quarantine  int64        // size limit of the quarantine in bytes; default 1 GiB
	Log         *slog.Logger // changes of the folder made by Open, and tenants that cannot be detached; nil: no log
}

// A Warehouse is an open data folder. It is safe for concurrent use. The caller must close it.
type Warehouse struct {
	dir          string // absolute, without symbolic links
	folder       *dataFolder
	instance     *duckdb.Instance // the DuckDB instance of this process; its own database is in memory
	loader       *sql.DB          // connections for staging and for ATTACH and DETACH; not bound to a tenant
	control      *sql.DB          // connections of the control database
	controlReads *sql.DB          // other connections of the control database, for long queries
	*control.DB                   // the content of the control database; its methods are methods of the warehouse
	journal      *journal.Journal // facts that outlive the databases of the folder and the restore of a backup
	epoch        uuid.UUID        // of the commits of this process
	histories    histories
	commits      *commitFile // nil until opened
	maxRow       int         // see MaxRow

	signing            []byte // secret from which the signing keys are derived
	tenants            tenantPool
	storeFiles         storeFiles
	healing            healer
	rewriting          sync.Mutex // held while the control database is detached
	checkpoints        checkpointer
	restoring          sync.Mutex // held by RestoreTenant and by finishRestore, with no other lock
	refused            quarantine
	exportCache        duckdbExportCache
	unknown            unknownFields
	conditions         *conditions
	fileVerifier       *fileVerifier
	lakeCache          *lakeCache    // nil: published files are not evicted; constant once files are read
	publishSoon        chan struct{} // see PublishSoon
	publicationChanges publicationChanges
	erasures           erasures
	upgrading          sync.Mutex // held by UpgradePublished; guards folder.mark.Published

	slots      stagingSlots
	reading    *admission.Controller // one slot for each reader
	staging    *semaphore.Weighted   // one slot for each throttled batch that is staged
	publishing *semaphore.Weighted   // one slot for each partition that is being written
}

const (
	defaultMemory     = "600MB"
	defaultQuarantine = 1 << 30 // bytes
)

// Open opens the data folder and locks it for this process. It creates a missing or empty folder, unless opts.MustExist
// is set, and removes the unfinished files that a crash has left. It returns ErrInvalid for a folder with foreign
// content or symbolic links, ErrInUse for a folder that another process has open, and ErrNotWritable if the folder
// belongs to another user. It sets the umask of the process to 0077.
func Open(ctx context.Context, opts Options) (_ *Warehouse, err error) {
	setUmask()
	folder, err := openFolder(opts)
	if err != nil {
		return nil, err
	}
	w := &Warehouse{
		dir:     folder.path,
		epoch:   uuid.New(),
		folder:  folder,
		refused: quarantine{maxBytes: cmp.Or(opts.Quarantine, defaultQuarantine)},
		reading: admission.New(admission.Limits{
			Total: maxReaders, PerTenant: maxReaders - 1, PerKey: maxReaders - 1}),
		conditions:   newConditions(folder.log),
		fileVerifier: newFileVerifier(),
		publishSoon:  make(chan struct{}, 1),
		exportCache:  duckdbExportCache{files: map[uuid.UUID][]*CachedDatabase{}, builds: map[uuid.UUID]*exportBuild{}},
		staging:      semaphore.NewWeighted(maxStaged),
		publishing:   semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := folder.take(); err != nil {
		return nil, err
	}
	if err := w.openInstance(ctx, opts); err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	if err := w.checkAdopted(ctx); err != nil {
		return nil, err
	}
	if err := w.tryLog(ctx, folder.join(controlFile)); err != nil {
		return nil, w.controlFault(err)
	}
	if w.control, err = w.attach(ctx, "control", folder.join(controlFile), largeBlock); err != nil {
		return nil, w.controlFault(err)
	}
	w.control.SetMaxOpenConns(1) // serializes its writes, which would conflict otherwise
	w.controlReads = w.instance.DB("USE control")
	w.controlReads.SetMaxOpenConns(1) // see rewriteControl
	if w.DB, err = control.Open(ctx, w.control, w.controlReads); err != nil {
		return nil, w.controlFault(err)
	}
	w.healing.noteControl()
	if w.journal, err = folder.openJournal(); err != nil {
		return nil, err
	}
	if err := w.completeJournal(ctx); err != nil {
		return nil, w.controlFault(err)
	}
	if err := w.loadDeleted(); err != nil {
		return nil, err
	}
	if err := w.UseJournal(ctx, w.journal); err != nil {
		return nil, w.controlFault(err)
	}
	for _, fault := range w.DamagedKeys() {
		w.conditions.set(uuid.Nil, ControlDamaged, controlFile, fmt.Errorf("%w; run `voicory repair`", fault))
	}
	if w.commits, err = folder.openCommits(); err != nil {
		return nil, fmt.Errorf("file of commits: %w", err)
	}
	if err := w.loadHistories(ctx); err != nil {
		return nil, w.controlFault(err)
	}
	if w.signing, err = folder.loadSigningSecret(); err != nil {
		return nil, fmt.Errorf("signing secret: %w", err)
	}
	if err := folder.adopt(); err != nil {
		return nil, fmt.Errorf("mark the data folder: %w", err)
	}
	w.tenants.init(w)
	w.erasures.lists = erasure.NewLists()
	if err := w.loadErasures(ctx); err != nil {
		return nil, err
	}
	if err := w.checkpoints.start(ctx, w); err != nil {
		return nil, fmt.Errorf("start the checkpointer: %w", err)
	}
	w.finishDeletions(ctx)
	if err := w.openStores(ctx); err != nil {
		return nil, w.controlFault(err)
	}
	if err := w.resumeRestore(ctx); err != nil {
		return nil, err
	}
	return w, w.FinishErasures(ctx)
}

// controlFault returns an error of opening the control database as an ErrInvalid of one line with the command to run,
// if the database is damaged. It wraps every other error.
func (w *Warehouse) controlFault(err error) error {
	if isDamage(err) && !errors.Is(err, ErrNoMemory) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("open control database: %w: %s is damaged: %s%s", ErrInvalid,
			w.folder.join(controlFile), firstLine(err), repairHint(err))
	}
	return fmt.Errorf("open control database: %w", err)
}

// setUmask sets the umask of the process, which DuckDB's files follow.
func setUmask() { syscall.Umask(privateUmask) }

// Close saves the request log, checkpoints all files, and unlocks the folder.
func (w *Warehouse) Close() error {
	var errs []error
	if w.DB != nil {
		errs = append(errs, w.DB.Close(context.Background()))
	}
	w.lakeCache.close()
	w.healing.close()
	w.checkpoints.close()
	errs = append(errs, w.tenants.close(), w.closeSlots())
	if w.journal != nil {
		errs = append(errs, w.journal.Close())
	}
	if w.commits != nil {
		errs = append(errs, w.commits.close())
	}
	for _, db := range []*sql.DB{w.controlReads, w.control, w.loader} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if w.instance != nil {
		errs = append(errs, w.instance.Close()) // checkpoints the databases that are still attached
	}
	w.storeFiles.close("control")
	return errors.Join(append(errs, w.folder.close())...)
}

// Dir returns the absolute path of the data folder.
func (w *Warehouse) Dir() string { return w.dir }

// FreeBytes returns the number of bytes that the process may still write to the disk of the data folder.
func (w *Warehouse) FreeBytes() uint64 { return duckdb.FreeBytes(w.dir) }

// TempDir returns the folder for temporary files of this process, and creates it if it is missing. Open empties it.
func (w *Warehouse) TempDir() string {
	dir := filepath.Join(w.dir, tempDir)
	if err := w.folder.mkdir(dir); err != nil {
		w.folder.log.Warn("create the folder for temporary files", "error", err) // its next user fails
	}
	return dir
}

// SocketPath returns the path of the Unix socket of the admin API, on which a server with the data folder dir listens.
func SocketPath(dir string) string { return filepath.Join(dir, socketFile) }

// openInstance starts the DuckDB instance of all tenants.
func (w *Warehouse) openInstance(ctx context.Context, opts Options) (err error) {
	if w.instance, err = duckdb.Open(ctx, w.dir); err != nil {
		return err
	}
	w.healing.init(w)
	w.instance.OnInvalidated(w.healing.noteInvalidated)
	w.instance.OnFailedWrite(w.healing.noteFailedWrite)
	w.folder.onFailedWrite = w.healing.noteFailedWrite
	w.instance.OnDamaged(w.conditions.noteDamaged)
	w.loader = w.instance.DB("")
	memory, temp := cmp.Or(opts.MemoryLimit, defaultMemory), filepath.Join(w.dir, tempDir)
	if err := configure(ctx, w.instance, w.loader, memory, temp); err != nil {
		return err
	}
	if err := w.setMaxRow(ctx); err != nil {
		return err
	}
	w.slots.init()
	for _, name := range []string{"stage/macros", "erasure/create_list"} {
		if _, err := w.loader.ExecContext(ctx, statements.Get(name)); err != nil {
			return err
		}
	}
	return nil
}

// configure makes the settings of an instance, for all of its connections, and adds the functions for values. Every
// instance of this package is configured here, so that statements and replays of logs behave the same in each. DuckDB
// must not load extensions from a network. An instance spills to the folder temp, or not at all if temp is empty.
func configure(ctx context.Context, instance *duckdb.Instance, loader *sql.DB, memory, temp string) error {
	for _, setting := range []string{
		"TimeZone = 'UTC'",
		"preserve_insertion_order = false", // needs less memory; statements that need an order have ORDER BY
		// DuckDB must not first select the ids of a page and then read their rows (late materialization). The page index
		// bounds the rows of a page already, so it is faster to read whole rows at once.
		"late_materialization_max_rows = 0",
		"autoinstall_known_extensions = false",
		"autoload_known_extensions = false",
		// The operating system caches Parquet files. DuckDB's memory is better used for blocks of pages.
		"enable_external_file_cache = false",
		// Freed buffers go back to the operating system after seconds, not only when a later allocation finds them.
		"allocator_background_threads = true",
		// A large commit is written to the log before the checkpoint that follows it. Without the log, an interrupted
		// checkpoint could not be recognized, see [duckdb.TornBlocks].
		"auto_checkpoint_skip_wal_threshold = " + strconv.FormatUint(math.MaxUint64, 10),
		"memory_limit = " + statements.Text(memory),
		"temp_directory = " + statements.Text(temp),
	} {
		if _, err := loader.ExecContext(ctx, "SET GLOBAL "+setting); err != nil {
			return err
		}
	}
	return instance.AddFunctions(ctx, ValueFunctions...)
}

// DuckDB compresses, reads and publishes 2,048 rows at a time, which must fit into its memory together. Rows can be of
// any mixture of lengths, so the longest row is a small part of the memory.
const (
	maxRowShare = 512 // part of the memory limit
	minMaxRow   = 64 << 10
	maxMaxRow   = 16 << 20
)

// MaxRow returns the maximum length of a row as JSON, in bytes.
func (w *Warehouse) MaxRow() int { return w.maxRow }

// setMaxRow computes maxRow from the memory limit of DuckDB.
func (w *Warehouse) setMaxRow(ctx context.Context) error {
	var limit string // such as 572.2 MiB
	if err := w.loader.QueryRowContext(ctx, "SELECT current_setting('memory_limit')").Scan(&limit); err != nil {
		return err
	}
	var number float64
	var unit string
	if _, err := fmt.Sscan(limit, &number, &unit); err != nil {
		return fmt.Errorf("read the memory limit %q of DuckDB: %w", limit, err)
	}
	for range strings.Index("bKMGTP", unit[:1]) {
		number *= 1024
	}
	w.maxRow = int(max(minMaxRow, min(maxMaxRow, number/maxRowShare)))
	return nil
}
