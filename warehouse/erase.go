package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/schema"
)

// An Erasure reports the rows and entries that an erasure has removed, or would remove.
type Erasure struct {
	Tenant   uuid.UUID        `json:"tenant_id"`
	DryRun   bool             `json:"dry_run"`
	Rows     map[string]int64 `json:"rows"`     // rows by dataset
	Refused  int64            `json:"refused"`  // entries of the quarantine
	Requests int64            `json:"requests"` // entries of the request log whose path or query was changed
	// Remaining are the files that contain the number, the id or another text of the customer after the erasure.
	Remaining []Remainder `json:"remaining"`
}

// EraseOptions are options of an erasure.
type EraseOptions struct {
	DryRun   bool // only count the rows
	OwnFiles bool // search the files of the tenant and of all tenants together, but not those of other tenants
}

// Erase erases a customer of a tenant, named by the id or by a phone number. It removes the rows of the number, of its
// customers and of their ids in all datasets, if they were created before now. It also removes all data that was
// derived from these rows. It ends with a search of the bytes of all files for the number, the ids, and the names and
// e-mail addresses. It returns ErrNotFound if the tenant has no such customer.
//
// The order makes a crash harmless: first a mark that the erasure is under way and the hashes in the journal, then the
// rows, then the copies of them. The next start completes an erasure that has a mark.
func (w *Warehouse) Erase(ctx context.Context, tenant uuid.UUID, customer string, options EraseOptions) (
	report Erasure, err error,
) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("erase a customer of tenant %s: %w", tenant, err)
		}
	}()
	if exists, err := w.storeExists(tenant); err != nil || !exists {
		return report, errors.Join(err, fmt.Errorf("%w: the tenant has no rows", ErrNotFound))
	}
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	if err := w.finishErasure(ctx, tenant); err != nil {
		return report, err
	}
	who, err := w.findPerson(ctx, tenant, customer)
	if err != nil {
		return report, err
	}
	report = Erasure{Tenant: tenant, DryRun: options.DryRun, Rows: map[string]int64{}, Remaining: []Remainder{}}
	until := time.Now().UTC().Truncate(time.Microsecond)
	if options.DryRun {
		return report, w.countErased(ctx, &report, until, who.keys)
	}
	if err := w.folder.createMark(w.erasingPath(tenant)); err != nil {
		return report, err
	}
	if err := w.recordErased(ctx, tenant, until, who.keys); err != nil {
		return report, err
	}
	if err := w.applyErasures(ctx, &report, who.texts); err != nil {
		return report, fmt.Errorf("it is recorded, so no source brings the rows back, and it is tried again every minute "+
			"and at the next start: %w", err)
	}
	search := uuid.Nil
	if options.OwnFiles {
		search = tenant
	}
	report.Remaining, err = w.FindMarkers(ctx, search, who.markers...)
	return report, err
}

// A person is a customer that is to be erased.
type person struct {
	keys    []erasure.Key
	texts   []string // texts that name the person, in no particular case
	markers []Marker
}

// add adds a customer's row.
func (p *person) add(id, name, email, number string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	p.keys = append(p.keys, erasure.RowKey(schema.Customers.Name, parsed))
	p.markers = append(p.markers, Marker{"id", id})
	p.addNumber(number, erasure.Identifies(number))
	for kind, text := range map[string]string{"e-mail address": email, "name": name} {
		if strings.TrimSpace(text) == "" {
			continue
		}
		p.markers = append(p.markers, Marker{kind, text})
		if strings.ContainsAny(strings.TrimSpace(text), " @") { // a first name alone names other persons, too
			p.texts = append(p.texts, text)
		}
	}
	return nil
}

// addNumber adds a phone number if it belongs to one person.
func (p *person) addNumber(number string, identifies bool) {
	if !identifies {
		return
	}
	p.keys = append(p.keys, erasure.NumberKeys(number)...)
	marker := number
	if digits := erasure.Digits(number); digits != "" {
		marker = digits // also finds the number with a plus sign
	}
	p.markers = append(p.markers, Marker{"number", marker})
}

// findPerson returns the identities of a customer: of all customers with the number, or with the number of the customer
// that has the id.
func (w *Warehouse) findPerson(ctx context.Context, tenant uuid.UUID, customer string) (who person, err error) {
	id, isID := uuid.NullUUID{}, false
	if parsed, err := uuid.Parse(strings.TrimSpace(customer)); err == nil && len(strings.TrimSpace(customer)) == 36 {
		id, isID = uuid.NullUUID{UUID: parsed, Valid: true}, true
	} else if who.addNumber(customer, true); len(who.keys) == 0 {
		return who, fmt.Errorf("%w: customer %q is neither an id nor a phone number", ErrInvalid, customer)
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return who, err
	}
	defer release()
	found := 0
	for range 2 { // the numbers of the customer first, and then the customers with these numbers
		numbers := who.keys
		if found, err = who.addCustomers(ctx, store.db, id, numbers); err != nil {
			return who, err
		}
		if isID && found == 0 {
			return who, fmt.Errorf("%w: the tenant has no customer %s", ErrNotFound, id.UUID)
		}
	}
	who.markers = distinct(who.markers)
	if isID {
		err = who.refuseOwnNumber(ctx, store.db)
	}
	return who, err
}

// minOwn is the minimum number of calls and messages that a number must have on the account's side to count as one of
// the account's own numbers.
const minOwn = 10

// refuseOwnNumber returns ErrInvalid if the number of the customer is on the account's side of most of its rows. It is
// then a number of the business, and the erasure would delete all calls of the business. A user who names such a number
// instead of the customer's id wants that, so it is not called then.
func (p *person) refuseOwnNumber(ctx context.Context, db *sql.DB) error {
	keys, err := json.Marshal(p.keys)
	if err != nil {
		return err
	}
	var own, other int64
	err = db.QueryRowContext(ctx, statements.Fill("erasure/count_sides", "store", "main"),
		sql.Named("keys", string(keys))).Scan(&own, &other)
	if err == nil && own >= minOwn && own > other {
		err = fmt.Errorf("%w: the number of the customer is one of the account's own numbers in %d calls and messages; "+
			"name the number with --customer to erase them all", ErrInvalid, own)
	}
	return err
}

// addCustomers adds the customers with the id or one of the keys, and returns their number.
func (p *person) addCustomers(
	ctx context.Context, db *sql.DB, id uuid.NullUUID, keys []erasure.Key,
) (n int, err error) {
	text, err := json.Marshal(keys)
	if err != nil {
		return 0, err
	}
	var only any
	if id.Valid {
		only = id.UUID.String()
	}
	rows, err := db.QueryContext(ctx, statements.Fill("erasure/select_customers", "store", "main"),
		sql.Named("id", only), sql.Named("keys", string(text)))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var id, name, email, number string
		if err := rows.Scan(&id, &name, &email, &number); err != nil {
			return n, err
		}
		if err := p.add(id, name, email, number); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

func distinct[T comparable](values []T) (out []T) {
	seen := map[T]bool{}
	for _, value := range values {
		if !seen[value] {
			seen[value] = true
			out = append(out, value)
		}
	}
	return out
}

// countErased counts the rows that an erasure of the keys would delete.
func (w *Warehouse) countErased(ctx context.Context, report *Erasure, until time.Time, keys []erasure.Key) error {
	store, release, err := w.tenant(ctx, report.Tenant)
	if err != nil {
		return err
	}
	defer release()
	const salt = "dry run"
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = fmt.Sprintf("(%s::UUID, '%s', '%s'::UUID, '%s'::TIMESTAMPTZ)", statements.Text(report.Tenant.String()),
			salt, erasure.Hash(salt, key), until.Format(time.RFC3339Nano))
	}
	list := "(FROM (VALUES " + strings.Join(texts, ", ") + ") AS erased(tenant_id, salt, hash, until))"
	for _, dataset := range schema.Datasets {
		covered := coveredRows(list, statements.Ident(dataset.Name), "true", report.Tenant, dataset)
		var n int64
		if err := store.db.QueryRowContext(ctx, "SELECT count(*) FROM ("+covered+")").Scan(&n); err != nil {
			return err
		}
		report.Rows[dataset.Name] = n
	}
	return nil
}

// ApplyErasures erases the identities again that the journal lists as erased in a tenant. It is called after a restore,
// because a backup may hold erased rows.
func (w *Warehouse) ApplyErasures(ctx context.Context, tenant uuid.UUID) error {
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	if err := w.loadErasures(ctx); err != nil || !w.erasures.lists.Has(tenant) {
		return err
	}
	report := Erasure{Tenant: tenant, Rows: map[string]int64{}}
	err := w.folder.createMark(w.erasingPath(tenant))
	if err == nil {
		err = w.applyErasures(ctx, &report, nil)
	}
	if err != nil {
		err = fmt.Errorf("apply the erasures of tenant %s: %w", tenant, err)
	}
	return err
}

// FinishErasures completes the erasures, and the deletions of tenants, that a crash or a failure has interrupted. A
// failure of one is logged, and the next call tries again.
func (w *Warehouse) FinishErasures(ctx context.Context) error {
	if w.erasures.running.TryLock() {
		w.finishDeletions(ctx)
		w.erasures.running.Unlock()
	}
	entries, err := w.storeDir()
	if errors.Is(err, ErrUnavailable) {
		return nil // a condition of the data folder
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, marked := strings.CutSuffix(entry.Name(), erasingSuffix)
		tenant, err := uuid.Parse(name)
		if !marked || err != nil || !w.erasures.running.TryLock() {
			continue // the erasure that runs removes its mark itself
		}
		err = w.finishErasure(ctx, tenant)
		w.erasures.running.Unlock()
		if err != nil {
			w.folder.log.Error("an interrupted erasure cannot be completed yet", "tenant", tenant, "error", err)
		}
	}
	return ctx.Err()
}

// finishErasure completes an erasure of the tenant that was interrupted. The caller holds erasures.running.
func (w *Warehouse) finishErasure(ctx context.Context, tenant uuid.UUID) error {
	if exists, err := w.folder.exists(w.erasingPath(tenant)); err != nil || !exists {
		return err
	}
	w.folder.log.Warn("an erasure was interrupted; it is completed now", "tenant", tenant)
	return w.applyErasures(ctx, &Erasure{Tenant: tenant, Rows: map[string]int64{}}, nil)
}

const erasingSuffix = ".erasing"

// erasingPath returns the path of the mark of an erasure that is under way.
func (w *Warehouse) erasingPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+erasingSuffix)
}

// createMark creates an empty file, unless it exists, and syncs its folder.
func (f *dataFolder) createMark(path string) error {
	if err := f.writeFile(path, nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.sync(filepath.Dir(path))
}

// applyErasures removes everything of a tenant that its list covers, and the mark at the end. texts are known only to
// the erasure that recorded the identities. The caller holds erasures.running.
func (w *Warehouse) applyErasures(ctx context.Context, report *Erasure, texts []string) error {
	tenant := report.Tenant
	err := w.replaceRows(ctx, tenant, func(store *tenantStore, conn *sql.Conn) (bool, error) {
		return true, w.eraseRows(ctx, store, conn, report)
	})
	if err != nil {
		return err
	}
	matcher := w.erasures.lists.Matcher(tenant)
	matcher.Texts = texts
	if report.Refused, err = w.eraseRefused(ctx, tenant, matcher); err != nil {
		return err
	}
	if err := w.eraseRuns(ctx, matcher); err != nil {
		return err
	}
	if report.Requests, err = w.RedactRequests(ctx, w.redactRequest); err != nil {
		return err
	}
	if err := errors.Join(w.rewriteControl(ctx), w.removeKept(ctx, tenant, matcher.Matches)); err != nil {
		return err
	}
	return w.folder.removeDurable(w.erasingPath(tenant))
}

// replaceRows changes the rows of a tenant and writes its file again, publishes the stale partitions, and removes the
// files that were published before.
func (w *Warehouse) replaceRows(ctx context.Context, tenant uuid.UUID, change changeStore) error {
	exists, err := w.storeExists(tenant)
	if err != nil || !exists {
		return err
	}
	err = w.withDetached(ctx, tenant, func() error { return w.rewriteTenant(ctx, tenant, change) })
	if err != nil {
		return err
	}
	if _, err := w.PublishTenant(ctx, tenant); err != nil {
		return err
	}
	return errors.Join(w.removeAllReplaced(ctx, tenant), w.dropExports(ctx, tenant))
}

// eraseRows deletes the rows that the list of the tenant covers, leaves their tombstones, and records their ids. The
// tenant is detached, and its store attached under its id.
func (w *Warehouse) eraseRows(ctx context.Context, store *tenantStore, conn *sql.Conn, report *Erasure) error {
	leave := func(dataset schema.Dataset) string {
		rows := store.main() + "." + statements.Ident(dataset.Name)
		return statements.Fill("erasure/create_leaving", "rows", rows, "expired", "false",
			"covered", coveredRows(erasedList, rows, "true", report.Tenant, dataset))
	}
	leaving := func(ctx context.Context, dataset schema.Dataset) error {
		ids, err := queryTexts(ctx, conn, "SELECT id::VARCHAR FROM leaving")
		if err != nil {
			return err
		}
		keys := make([]erasure.Key, len(ids))
		for i, id := range ids {
			keys[i] = erasure.RowKey(dataset.Name, uuid.MustParse(id))
		}
		return w.recordErased(ctx, report.Tenant, time.Now().UTC().Truncate(time.Microsecond), keys)
	}
	if err := w.deleteRows(ctx, store, conn, report.Rows, leave, leaving); err != nil {
		return err
	}
	return store.inTransaction(ctx, conn, func(tx *sql.Tx) error {
		return eraseRecords(ctx, tx, store.main(), w.erasures.lists.Matcher(report.Tenant))
	})
}

// deleteRows deletes rows of each dataset and leaves their tombstones, in one transaction per dataset. leave returns
// the statement that selects the rows of a dataset to delete into the table leaving. The function leaving, if not nil,
// is called before the rows in the table leaving are deleted. deleteRows adds the number of rows of each dataset to
// counts.
func (w *Warehouse) deleteRows(ctx context.Context, store *tenantStore, conn *sql.Conn, counts map[string]int64,
	leave func(schema.Dataset) string, leaving func(context.Context, schema.Dataset) error,
) error {
	for _, dataset := range schema.Datasets {
		var n int64
		_, err := duckdb.Exec(ctx, conn, leave(dataset))
		if err == nil {
			err = conn.QueryRowContext(ctx, "SELECT count(*) FROM leaving").Scan(&n)
		}
		if err != nil {
			return fmt.Errorf("find the rows of %s: %w", dataset.Name, err)
		}
		counts[dataset.Name] += n
		if n == 0 {
			continue
		}
		if leaving != nil {
			if err := leaving(ctx, dataset); err != nil {
				return err
			}
		}
		months, err := queryTexts(ctx, conn, statements.Get("erasure/select_leaving"))
		if err != nil {
			return err
		}
		var seq int64
		if err := conn.QueryRowContext(ctx, "SELECT seq FROM "+store.main()+".clock").Scan(&seq); err != nil {
			return err
		}
		stale := mergePlan{seq: seq + 1, months: map[string]bool{}}
		for _, month := range months {
			stale.months[monthOf(dataset, month)] = true
		}
		touched, err := stale.stalePartitions(dataset)
		if err != nil {
			return err
		}
		if err := w.folder.createMark(w.unpublishedPath(store.id)); err != nil {
			return err
		}
		next := strconv.FormatInt(seq+1, 10)
		slots := []string{"store", store.main(), "seq", next, "first_seq", next,
			"touched", touched, "epoch", statements.Text(w.epoch.String()),
			"dataset", statements.Ident(dataset.Name), "dataset_name", statements.Text(dataset.Name)}
		err = store.changeRows(ctx, conn, func(tx *sql.Tx) error {
			for _, name := range []string{
				"merge/advance_seq", "merge/insert_epoch", "erasure/insert_tombstones", "erasure/delete_rows",
			} {
				if _, err := tx.ExecContext(ctx, statements.Fill(name, slots...)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A database executes statements: it is a connection or a transaction.
type database interface {
	querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// eraseRecords deletes the idempotency records that name an erased identity, and replaces ids in the states of sources.
// store is the schema of their tables.
func eraseRecords(ctx context.Context, db database, store string, matcher erasure.Matcher) error {
	pushes, err := queryPairs(ctx, db, "SELECT key, outcome::VARCHAR FROM "+store+".pushes")
	if err != nil {
		return err
	}
	for _, push := range pushes {
		if !matcher.Matches(push[0]) && !matcher.Matches(push[1]) {
			continue
		}
		_, err := db.ExecContext(ctx, "DELETE FROM "+store+".pushes WHERE key = $key", sql.Named("key", push[0]))
		if err != nil {
			return err
		}
	}
	return eraseStates(ctx, db, store, matcher)
}

// eraseStates replaces erased ids in the states of sources by an id that no row has. A source that continues at such an
// id reads some rows again.
func eraseStates(ctx context.Context, db database, store string, matcher erasure.Matcher) error {
	ids := erasure.Matcher{Has: func(key erasure.Key) bool {
		return key.IsRow() && matcher.Has(key)
	}}
	states, err := queryPairs(ctx, db, "SELECT source, state::VARCHAR FROM "+store+".source_states")
	if err != nil {
		return err
	}
	for _, state := range states {
		text, changed := ids.Redact(state[1], uuid.Nil.String())
		if !changed {
			continue
		}
		_, err := db.ExecContext(ctx, "UPDATE "+store+".source_states SET state = $state WHERE source = $source",
			sql.Named("state", text), sql.Named("source", state[0]))
		if err != nil {
			return err
		}
	}
	return nil
}

// queryPairs returns the two columns of a query, as texts.
func queryPairs(ctx context.Context, db querier, query string) (pairs [][2]string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var pair [2]string
		if err := rows.Scan(&pair[0], &pair[1]); err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, rows.Err()
}

// eraseRuns removes erased identities from the errors of the last runs of sources, and from the states of the sources
// of many tenants.
func (w *Warehouse) eraseRuns(ctx context.Context, matcher erasure.Matcher) error {
	runs, err := w.Runs(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		var changed bool
		if run.Error, changed = matcher.Redact(run.Error, redacted); changed {
			if err := w.SaveRun(ctx, run); err != nil {
				return err
			}
		}
	}
	return eraseStates(ctx, w.control, "main", matcher)
}

// removeAllReplaced removes the replaced files of a tenant at once, and their entries in the manifest, so that signed
// URLs of them are not found.
func (w *Warehouse) removeAllReplaced(ctx context.Context, tenant uuid.UUID) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()
	if err := store.forgetReplaced(ctx); err != nil {
		return err
	}
	w.publicationChanges.note(tenant)
	store.naming.Lock()
	defer store.naming.Unlock()
	return w.folder.removeFiles(w.replacedPath(tenant))
}

// forgetReplaced deletes the manifest's entries of all replaced files. The snapshots of the tables that contained them
// cannot be derived any more, so the history of snapshots begins again with the current files.
func (s *tenantStore) forgetReplaced(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.inTransaction(ctx, s.db, func(tx *sql.Tx) error { return s.forgetSnapshots(ctx, tx) })
}

// forgetSnapshots makes the current files those of one new publication, and deletes the entries of replaced files.
func (s *tenantStore) forgetSnapshots(ctx context.Context, tx *sql.Tx) error {
	at, err := s.publicationTime(ctx, tx)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, statements.Get("lake/forget_snapshots"), sql.Named("at", at)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statements.Get("lake/prune_replaced"), sql.Named("before", time.Now().AddDate(1, 0, 0)))
	return err
}

// removeFiles removes the files of a folder, which may be missing.
func (f *dataFolder) removeFiles(dir string) error {
	entries, err := f.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := f.removeIfThere(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return f.sync(dir)
}

// dropExports removes the cached DuckDB exports of a tenant. It waits for a build that is under way.
func (w *Warehouse) dropExports(ctx context.Context, tenant uuid.UUID) error {
	d := &w.exportCache
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.builds[tenant] != nil {
		build := d.builds[tenant]
		d.mu.Unlock()
		select {
		case <-build.done:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	var errs []error
	for _, file := range d.files[tenant] {
		errs = append(errs, w.folder.removeIfThere(file.path))
	}
	delete(d.files, tenant)
	return errors.Join(errs...)
}
