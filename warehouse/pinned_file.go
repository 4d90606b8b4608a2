package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A pinnedFile is the file of an attached database in one state: the file as its last checkpoint left it, and a part of
// its log. Until release is called, the database is not checkpointed, so neither is overwritten; commits are appended
// to the log.
type pinnedFile struct {
	w       *Warehouse
	catalog string
	path    string
	at      time.Time
	size    int64 // bytes of the file
	log     int64 // bytes of the log; 0: none
	stat    string
	header  string // digest of the headers
	history uuid.UUID
	conn    *sql.Conn
	tx      *sql.Tx // an uncommitted change: DuckDB makes no checkpoint while another transaction has one
}

// headerBytes is the length of the headers of a DuckDB file. They have the number of the last checkpoint.
const headerBytes = 3 * 4096

// pin checkpoints a database, and keeps it from being checkpointed until release is called. The caller makes sure that
// no other transaction writes meanwhile. If a transaction that only reads prevents the checkpoint, the log is part of
// the state.
func (w *Warehouse) pin(ctx context.Context, db *sql.DB, catalog, path string) (p *pinnedFile, err error) {
	p = &pinnedFile{w: w, catalog: catalog, path: path, at: time.Now().UTC()}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.release())
		}
	}()
	if p.conn, err = db.Conn(ctx); err != nil {
		return p, err
	}
	if err := w.checkpointFile(context.WithoutCancel(ctx), p.conn, catalog, path); err != nil {
		return p, err
	}
	if p.tx, err = duckdb.Begin(ctx, p.conn); err != nil {
		return p, err
	}
	name := statements.Ident("backup " + uuid.NewString()) // a name that no other transaction uses
	if _, err := p.tx.ExecContext(ctx, "CREATE TABLE "+name+" (never_committed INTEGER)"); err != nil {
		return p, err
	}
	file, err := w.storeFiles.get(w.folder, catalog, path)
	if err != nil {
		return p, err
	}
	info, err := file.Stat()
	if err != nil {
		return p, err
	}
	p.size = info.Size()
	state, err := fileState(path)
	if err != nil {
		return p, err
	}
	p.stat = state.text
	header := make([]byte, headerBytes)
	if _, err := file.ReadAt(header, 0); err != nil {
		return p, err
	}
	sum := sha256.Sum256(header)
	p.header = hex.EncodeToString(sum[:16])
	log, err := os.Lstat(path + ".wal")
	if err == nil {
		p.log = log.Size()
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return p, err
}

// pinTenant pins the store of a tenant while neither a merge nor a publication is under way.
func (w *Warehouse) pinTenant(ctx context.Context, store *tenantStore) (*pinnedFile, error) {
	store.publishing.Lock()
	defer store.publishing.Unlock()
	store.writing.Lock()
	defer store.writing.Unlock()
	p, err := w.pin(ctx, store.db, store.id.String(), w.tenantPath(store.id))
	p.history = store.last.History
	return p, err
}

// state returns the text that identifies the state, or "" if the state includes commits in the log, because the file
// alone does not identify them.
func (p *pinnedFile) state() string {
	if p.log > 0 {
		return ""
	}
	return p.stat + "/" + p.header
}

// copy copies the file and its log.
func (p *pinnedFile) copy(ctx context.Context, out backup.Writer) (files []backup.File, err error) {
	in, err := p.w.storeFiles.get(p.w.folder, p.catalog, p.path)
	if err != nil {
		return nil, err
	}
	file, err := out.Add(ctx, backup.Content{Path: p.w.nameOf(p.path), File: in, Size: p.size})
	if err != nil || p.log == 0 {
		return []backup.File{file}, err
	}
	if in, err = p.w.folder.open(p.path + ".wal"); err != nil { // DuckDB has no lock on it
		return nil, err
	}
	defer in.Close()
	log, err := out.Add(ctx, backup.Content{Path: p.w.nameOf(p.path + ".wal"), File: in, Size: p.log})
	return []backup.File{file, log}, err
}

// release lets the database be checkpointed.
func (p *pinnedFile) release() error {
	var errs []error
	if p.tx != nil {
		errs = append(errs, p.tx.Rollback())
	}
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

// storeFiles holds the descriptors of attached databases that backups read. A descriptor stays open as long as its
// database is attached: closing it would release DuckDB's lock on the file, because POSIX locks belong to a process and
// a file, and not to a descriptor.
type storeFiles struct {
	mu    sync.Mutex
	files map[string]*os.File // by catalog; guarded by mu
}

// get returns a descriptor of the file of an attached database. The file at path may have been replaced since an
// earlier call, but only after a DETACH, which closes the descriptor.
func (s *storeFiles) get(folder *dataFolder, catalog, path string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[catalog] != nil {
		return s.files[catalog], nil
	}
	file, err := folder.open(path)
	if err == nil {
		if s.files == nil {
			s.files = map[string]*os.File{}
		}
		s.files[catalog] = file
	}
	return file, err
}

// close closes the descriptor of a database that was detached.
func (s *storeFiles) close(catalog string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file := s.files[catalog]; file != nil {
		file.Close()
		delete(s.files, catalog)
	}
}
