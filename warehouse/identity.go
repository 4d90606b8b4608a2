package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
)

// # Identity of stores
//
// A store carries an identity, which is its tenant's id and a random history id, and the number of its last commit. The
// control database and the journal hold the history of each tenant's store, and the file of commits holds the last
// commit. [Warehouse.attachTenant] is the only function that attaches a store, and it compares them:
//
//   - A tenant that had a store never gets a new, empty one: a missing file is the condition StoreMissing.
//   - A file of another tenant or of another history is StoreForeign.
//   - A file that lacks commits is StoreBehind.
//   - A file without a history, which is new or was written by an earlier version, begins one, if none is registered.
//   - A history that is not registered, because the control database is new or older, is registered.
//
// A refused store is detached unchanged. [Warehouse.BeginHistory] accepts the second and the third of these after a
// repair or a restore.

// histories are the registered histories of the tenants' stores. If the journal and the control database differ about a
// tenant, the last entry of the journal is the current history, because the journal is written first. There is one
// exception: if the journal lacks the history of the control database, it has lost lines, and the history of the
// control database is the current one.
type histories struct {
	mu       sync.Mutex
	byTenant map[uuid.UUID]uuid.UUID // guarded by mu
	begun    map[uuid.UUID]int       // number of histories that the journal has of each tenant; guarded by mu
	accepted map[uuid.UUID]bool      // tenants whose next open begins a new history; guarded by mu
	// published has the time of the last publication of the former histories of a tenant; guarded by mu.
	published map[uuid.UUID]time.Time
}

// A storeIdentity is the identity that a store carries and that the journal records.
type storeIdentity struct {
	Tenant  uuid.UUID `json:"tenant"`
	History uuid.UUID `json:"history"` // random; a store that was restored or rebuilt begins another
}

// A historyEntry is the data of an entry of the journal about a history.
type historyEntry struct {
	storeIdentity
	// Published is the time of the last publication of the former histories, as far as it is known.
	Published time.Time `json:"published,omitzero"`
}

// loadHistories reads the registered histories, and completes the journal and the control database from each other.
func (w *Warehouse) loadHistories(ctx context.Context) error {
	inControl, err := w.Histories(ctx)
	if err != nil {
		return err
	}
	w.histories.byTenant, w.histories.accepted = map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]bool{}
	w.histories.begun, w.histories.published = map[uuid.UUID]int{}, map[uuid.UUID]time.Time{}
	inJournal := map[storeIdentity]bool{}
	for _, entry := range w.journal.Entries(journal.History) {
		var h historyEntry
		if err := entry.Decode(&h); err != nil {
			return err
		}
		if w.CheckDeleted(h.Tenant) != nil {
			continue
		}
		if w.histories.byTenant[h.Tenant] != h.History {
			w.histories.begun[h.Tenant]++
		}
		w.histories.byTenant[h.Tenant], inJournal[h.storeIdentity] = h.History, true
		w.histories.published[h.Tenant] = later(w.histories.published[h.Tenant], h.Published)
	}
	var missing []journal.Entry
	for tenant, history := range inControl {
		identity := storeIdentity{tenant, history}
		if inJournal[identity] || w.CheckDeleted(tenant) != nil {
			continue
		}
		entry, err := w.journal.NewEntry(journal.History, identity)
		if err != nil {
			return err
		}
		w.histories.byTenant[tenant], missing = history, append(missing, entry)
		w.histories.begun[tenant]++
	}
	for tenant, history := range w.histories.byTenant {
		if inControl[tenant] == history {
			continue
		}
		if err := w.SetHistory(ctx, tenant, history); err != nil {
			return err
		}
	}
	return w.journal.Append(missing...)
}

// historyOf returns the registered history of the tenant's store, or the zero UUID if the tenant never had a store.
func (w *Warehouse) historyOf(tenant uuid.UUID) uuid.UUID {
	w.histories.mu.Lock()
	defer w.histories.mu.Unlock()
	return w.histories.byTenant[tenant]
}

// publishedBefore returns the time of the last publication of the former histories of the tenant's store.
func (w *Warehouse) publishedBefore(tenant uuid.UUID) time.Time {
	w.histories.mu.Lock()
	defer w.histories.mu.Unlock()
	return w.histories.published[tenant]
}

// registerHistory registers the tenant and the history of its store. published is the time of the last publication of
// the former histories.
func (w *Warehouse) registerHistory(ctx context.Context, tenant, history uuid.UUID, published time.Time) error {
	entry, err := w.journal.NewEntry(journal.History, historyEntry{storeIdentity{tenant, history}, published})
	if err != nil {
		return err
	}
	if err := w.journal.Append(entry); err != nil {
		return err
	}
	if err := w.SetHistory(ctx, tenant, history); err != nil {
		return err
	}
	w.histories.mu.Lock()
	defer w.histories.mu.Unlock()
	w.histories.byTenant[tenant] = history
	w.histories.begun[tenant]++
	w.histories.published[tenant] = later(w.histories.published[tenant], published)
	return nil
}

// History returns the history of the tenant's store, or the zero UUID if the tenant never had a store. first reports
// whether the tenant had no other history: its store was never restored or rebuilt.
func (w *Warehouse) History(tenant uuid.UUID) (history uuid.UUID, first bool) {
	w.histories.mu.Lock()
	defer w.histories.mu.Unlock()
	return w.histories.byTenant[tenant], w.histories.begun[tenant] <= 1
}

// refuse describes why a store is not attached, with the file and the way out.
func (w *Warehouse) refuse(kind ConditionKind, id uuid.UUID, format string, args ...any) error {
	file, err := storeFile(id), fmt.Errorf(format, args...)
	return &ConditionError{kind, fmt.Errorf("%s: %w%s", file, err, repairHint(err)), file}
}

// storeExists reports whether the tenant has a store. It returns a ConditionError if the file is missing although the
// tenant had a store, so false means that the tenant never had rows.
func (w *Warehouse) storeExists(id uuid.UUID) (bool, error) {
	path := w.tenantPath(id)
	exists, err := w.folder.exists(path)
	if err != nil || exists {
		return exists, err
	}
	if w.historyOf(id) != uuid.Nil || w.commits.of(id) != (commitID{}) {
		return false, w.refuse(StoreMissing, id, "the file is missing")
	}
	for _, trace := range []string{path + walSuffix, w.unpublishedPath(id)} {
		if found, err := w.folder.exists(trace); err != nil || found {
			return false, errors.Join(err, w.refuse(StoreMissing, id, "the file is missing beside %s", filepath.Base(trace)))
		}
	}
	for _, dir := range append(w.PublishedDirs(id), w.lakePath(id)) {
		entries, err := w.folder.readDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if len(entries) > 0 {
			return false, w.refuse(StoreMissing, id, "the file is missing, but the tenant has published files")
		}
	}
	return false, nil
}

// mayCreateStore returns an error if the folder of the stores holds none of the registered stores: its file system is
// probably not mounted, and a store that is created now would be hidden later.
func (w *Warehouse) mayCreateStore() error {
	if _, err := w.storeDir(); err != nil {
		return err
	}
	w.histories.mu.Lock()
	registered := make([]uuid.UUID, 0, len(w.histories.byTenant))
	for id := range w.histories.byTenant {
		registered = append(registered, id)
	}
	w.histories.mu.Unlock()
	for _, id := range registered {
		if exists, err := w.folder.exists(w.tenantPath(id)); err != nil || exists {
			return err
		}
	}
	if len(registered) == 0 {
		return nil
	}
	return &ConditionError{StoreMissing, fmt.Errorf("the folder %s has none of its %d stores; mount its file system, "+
		"or run `voicory repair`", warehouseDir, len(registered)), warehouseDir}
}

// checkCommit returns a ConditionError unless a store whose last commit is last is the newest store of the tenant. last
// is nil if the store has no history.
func (w *Warehouse) checkCommit(id uuid.UUID, last *commitID) error {
	registered, recorded := w.historyOf(id), w.commits.of(id)
	switch {
	case last == nil && (registered != uuid.Nil || recorded != (commitID{})):
		return w.refuse(StoreForeign, id, "it is a copy of before an upgrade, or not the store of the tenant")
	case last == nil:
		return nil
	case last.Tenant != id:
		return w.refuse(StoreForeign, id, "it belongs to tenant %s", last.Tenant)
	case registered != uuid.Nil && last.History != registered:
		return w.refuse(StoreForeign, id, "it has the history %s, but the tenant's store has %s", last.History, registered)
	case last.History == recorded.History && last.Number < recorded.Number:
		return w.refuse(StoreBehind, id,
			"it lacks the last %d commits, because it is an older copy or its WAL was lost or cut", recorded.Number-last.Number)
	}
	return nil
}

// checkStore is checkCommit for a database that is attached and perhaps not migrated yet.
func (w *Warehouse) checkStore(ctx context.Context, id uuid.UUID, db *sql.DB) (*commitID, error) {
	last, err := lastCommit(ctx, db)
	if errors.Is(err, errMixed) {
		return nil, w.refuse(StoreForeign, id, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	w.histories.mu.Lock()
	accepted := w.histories.accepted[id]
	w.histories.mu.Unlock()
	if accepted && (last == nil || last.Tenant == id) {
		return last, nil
	}
	return last, w.checkCommit(id, last)
}

// checkLogs checks a store that has a WAL before it is attached for writing: DuckDB replays the WAL of another store
// that is a copy of the same template, and a DETACH would then write its rows to the file.
func (w *Warehouse) checkLogs(ctx context.Context, id uuid.UUID) (err error) {
	path, logs := w.tenantPath(id), false
	for _, suffix := range walSuffixes {
		exists, err := w.folder.exists(path + suffix)
		if err != nil {
			return err
		}
		logs = logs || exists
	}
	if !logs {
		return nil
	}
	// The store may still be attached, because an earlier DETACH failed.
	if attached, err := w.isAttached(ctx, id.String()); err != nil || attached {
		return err
	}
	if err := w.mendTornBlocks(path); err != nil {
		return err
	}
	db, detach, err := w.attachReadOnly(ctx, "check "+id.String(), path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach()) }()
	_, err = w.checkStore(ctx, id, db)
	return err
}

// walSuffixes are the suffixes of the logs that DuckDB keeps beside a file: its WAL, the WAL of transactions during a
// checkpoint, and the WAL that it makes of both after a crash.
var walSuffixes = []string{walSuffix, walSuffix + ".checkpoint", walSuffix + ".recovery"}

const walSuffix = ".wal"

// firstWithIdentity is the version of the schema from which a store has an identity.
const firstWithIdentity = 13

// errNotStore is the error of a database that is not a store.
var errNotStore = errors.New("it was not written by voicory")

// errMixed is the error of a store with a WAL of another store.
var errMixed = errors.New("its WAL is of another store")

// lastCommit returns the last commit of a store, or nil if it has no history. It returns errMixed if the last commit
// has the identity of another store.
func lastCommit(ctx context.Context, db *sql.DB) (*commitID, error) {
	var version int
	err := db.QueryRowContext(ctx, statements.Get("identity/select_version")).Scan(&version)
	if duckdb.IsCatalog(err) {
		return nil, errNotStore
	}
	if err != nil || version < firstWithIdentity {
		return nil, err
	}
	var texts [2]sql.NullString
	err = db.QueryRowContext(ctx, statements.Get("identity/select_last_commit")).Scan(&texts[0], &texts[1])
	if err != nil || !texts[0].Valid && !texts[1].Valid {
		return nil, err
	}
	identity, last := storeIdentity{}, &commitID{}
	for i, value := range []any{&identity, last} {
		if err := json.Unmarshal([]byte(cmp.Or(texts[i].String, "{}")), value); err != nil {
			return nil, fmt.Errorf("identity of the store: %w", err)
		}
	}
	if identity != last.storeIdentity {
		return nil, errMixed
	}
	return last, nil
}

// A beginner is a database, or a connection of one.
type beginner interface {
	BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
}

// inTransaction calls do within a transaction. It commits if do succeeds, and rolls back otherwise. Each transaction
// that writes to a store is started by inTransaction or changeRows, except transactions that may be lost without harm.
// Both store the commitID of the transaction, and record it in the file of commits once the transaction is durable. The
// caller holds s.writing.
func (s *tenantStore) inTransaction(ctx context.Context, db beginner, do func(tx *sql.Tx) error) error {
	return s.commitNext(ctx, db, do, (*sql.Tx).Commit)
}

// changeRows is inTransaction for a transaction that changes rows. It increments version before and after the commit.
func (s *tenantStore) changeRows(ctx context.Context, db beginner, do func(tx *sql.Tx) error) error {
	return s.commitNext(ctx, db, do, func(tx *sql.Tx) error { return s.committing(tx.Commit) })
}

func (s *tenantStore) commitNext(
	ctx context.Context, db beginner, do func(*sql.Tx) error, commit func(*sql.Tx) error,
) error {
	s.last.Number++ // a number is not used again, because the outcome of a failed commit is unknown
	id := s.last
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	tx, err := duckdb.Begin(ctx, db)
	if err != nil {
		return err
	}
	if err = do(tx); err == nil {
		_, err = tx.ExecContext(ctx, statements.Fill("identity/update_last_commit",
			"store", statements.Ident(s.id.String()), "commit", statements.Text(string(text))))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := commit(tx); err != nil {
		return err
	}
	s.commits.record(id)
	return nil
}

// identify begins a history in a store that has none, or whose next history is accepted, and registers the history of
// the store unless it is registered.
func (w *Warehouse) identify(ctx context.Context, store *tenantStore, last *commitID) error {
	w.histories.mu.Lock()
	accepted := w.histories.accepted[store.id]
	w.histories.mu.Unlock()
	store.publishedBefore = w.publishedBefore(store.id)
	if last == nil {
		return w.beginHistory(ctx, store, func(*sql.Tx) error { return nil })
	}
	store.last = *last
	if accepted {
		return nil // BeginHistory continues
	}
	w.commits.record(store.last) // the store may have commits that a crash kept from the file
	if w.historyOf(store.id) == last.History {
		return nil
	}
	return w.registerHistory(ctx, store.id, last.History, store.publishedBefore)
}

// beginHistory begins and registers a history. The transaction that begins it also calls do. The caller holds the
// writing lock of the store, or is the only one that knows the store.
func (w *Warehouse) beginHistory(ctx context.Context, store *tenantStore, do func(*sql.Tx) error) error {
	identity := storeIdentity{store.id, uuid.New()}
	text, err := json.Marshal(identity)
	if err != nil {
		return err
	}
	store.last = commitID{storeIdentity: identity}
	err = store.inTransaction(ctx, store.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statements.Fill("identity/update_identity",
			"store", statements.Ident(store.id.String()), "identity", statements.Text(string(text))))
		return errors.Join(err, do(tx))
	})
	if err != nil {
		return fmt.Errorf("begin a history: %w", err)
	}
	return w.registerHistory(ctx, store.id, identity.History, store.publishedBefore)
}

// BeginHistory begins a new history of the tenant's store, and so accepts a store that is refused because it lacks
// commits or has another history. The commits that it lacks are lost. It does not accept a file of another tenant. It
// also makes every position in the change feeds of the tenant ErrPositionLost, because rows may be gone that a reader
// has seen.
func (w *Warehouse) BeginHistory(ctx context.Context, tenant uuid.UUID) error {
	return w.restartHistory(ctx, tenant, time.Time{}, func(*tenantStore, *sql.Tx) error { return nil })
}

// restartHistory is BeginHistory with a function that is called in the same transaction. published is the time of the
// last publication of the history that ends, if its store was replaced; see lastPublication.
func (w *Warehouse) restartHistory(
	ctx context.Context, tenant uuid.UUID, published time.Time, do func(*tenantStore, *sql.Tx) error,
) error {
	w.histories.mu.Lock()
	w.histories.accepted[tenant] = true
	w.histories.mu.Unlock()
	defer func() {
		w.histories.mu.Lock()
		defer w.histories.mu.Unlock()
		delete(w.histories.accepted, tenant)
	}()
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()
	store.facts.loaded, store.facts.epoch = false, false
	store.publishedBefore = later(store.publishedBefore, published)
	err = w.beginHistory(ctx, store, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statements.Get("identity/restart_epochs"), sql.Named("epoch", uuid.NewString()))
		if err != nil {
			return err
		}
		return do(store, tx)
	})
	if err != nil {
		return fmt.Errorf("open tenant %s: %w", tenant, err)
	}
	return nil
}
