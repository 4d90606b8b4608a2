package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// erasures is the list of erased identities: in memory, and as a table that statements join with rows. It is loaded
// from the journal.
type erasures struct {
	running sync.Mutex // held by one erasure at a time

	// gate is held for reading from the lookup in the list to the end of a write of refused rows, and for writing while
	// identities are added to the list. So an erasure finds in the quarantine every refused row that was compared with the
	// list before.
	gate   sync.RWMutex
	lists  *erasure.Lists  // constant
	loaded map[string]bool // data of the entries of the journal that are in the list; guarded by gate
}

// loadErasures adds the entries of the journal that are not in the list yet.
func (w *Warehouse) loadErasures(ctx context.Context) error {
	w.erasures.gate.Lock()
	defer w.erasures.gate.Unlock()
	if w.erasures.loaded == nil {
		w.erasures.loaded = map[string]bool{}
	}
	for _, entry := range w.journal.Entries(journal.Erased) {
		if w.erasures.loaded[string(entry.Data)] {
			continue
		}
		var record erasure.Record
		if err := entry.Decode(&record); err != nil {
			return err
		}
		_, err := w.loader.ExecContext(ctx, statements.Get("erasure/insert_list"), sql.Named("record", string(entry.Data)))
		if err != nil {
			return fmt.Errorf("load erased identities: %w", err)
		}
		w.erasures.lists.Add(record)
		w.erasures.loaded[string(entry.Data)] = true
	}
	return nil
}

// maxHashes is the maximum number of hashes in an entry of the journal.
const maxHashes = 1000

// recordErased adds identities of a tenant to the journal and to the list. It must be called before rows of these
// identities are deleted, so that no source brings them back after a crash.
func (w *Warehouse) recordErased(ctx context.Context, tenant uuid.UUID, until time.Time, keys []erasure.Key) error {
	record := w.erasures.lists.Record(tenant, until, keys)
	var entries []journal.Entry
	for all := record.Hashes; len(all) > 0; {
		record.Hashes = all[:min(len(all), maxHashes)]
		all = all[len(record.Hashes):]
		entry, err := w.journal.NewEntry(journal.Erased, record)
		if err != nil {
			return err
		}
		entries = append(entries, entry)
	}
	if err := w.journal.Append(entries...); err != nil {
		return err
	}
	return w.loadErasures(ctx)
}

// coveredRows returns the query of the places of the rows of a relation that the list of a tenant covers. list is a
// table with the columns of erased.
func coveredRows(list, relation, condition string, tenant uuid.UUID, dataset schema.Dataset) string {
	return statements.Fill("erasure/covered_rows", "list", list, "rows", relation, "condition", condition,
		"tenant", statements.Text(tenant.String()), "dataset_name", statements.Text(dataset.Name),
		"keys", dataset.IdentityKeys())
}

// erasedList is the table of the list of erased identities.
const erasedList = "memory.main.erased"

// dropErased deletes the staged rows of a tenant that must not come back: see erasure/covered_rows.sql for the rule. It
// also deletes rows that are older than the tenant keeps. It returns their number. The caller holds the writing lock of
// the tenant, so that no erasure can come between this and the merge.
func (s *Staged) dropErased(ctx context.Context, conn *sql.Conn, t stagedTenant) (int64, error) {
	keep := s.w.Retention(t.id.UUID)
	if len(keep) == 0 && !s.w.erasures.lists.Has(t.id.UUID) {
		return 0, nil
	}
	condition := fmt.Sprintf("tenant_id = %s::UUID AND raw IS NULL", statements.Text(t.id.UUID.String()))
	return duckdb.Exec(ctx, conn, statements.Fill("erasure/delete_staged",
		"tenant", statements.Text(t.id.UUID.String()), "expired", keep.Expired(s.batch.Dataset, time.Now()),
		"covered", coveredRows(erasedList, "staged", condition, t.id.UUID, s.batch.Dataset)))
}

// erasedRefusal reports whether a refused row names an erased identity, so that it must not be stored. A row of an
// erased number that was created after the erasure is a new record. If its time cannot be read, it counts as an old
// one. The caller holds the gate.
func (s *Staged) erasedRefusal(row string) bool {
	for _, t := range s.tenants {
		tenant := t.id.UUID
		if !t.id.Valid {
			tenant = s.batch.Tenant
		}
		if !s.w.erasures.lists.Has(tenant) {
			continue
		}
		created := createdAt(row)
		matcher := erasure.Matcher{Has: func(key erasure.Key) bool {
			until, known := s.w.erasures.lists.Until(tenant, key)
			return known && (key.IsRow() || !created.After(until))
		}}
		if matcher.Matches(row) {
			return true
		}
	}
	return false
}

// createdAt returns the created_at of a row that is a JSON object, or the zero time.
func createdAt(row string) (at time.Time) {
	var object struct {
		CreatedAt json.RawMessage `json:"created_at"`
	}
	if json.Unmarshal([]byte(row), &object) == nil && json.Unmarshal(object.CreatedAt, &at) == nil {
		return at
	}
	return time.Time{}
}

// redacted replaces an erased identity in the request log.
const redacted = "erased"

// LogRequest adds a request to the request log, without the erased identities that it names. See
// [control.DB.LogRequest].
func (w *Warehouse) LogRequest(request control.Request) {
	w.DB.LogRequest(w.redactRequest(request))
}

// redactRequest replaces erased identities in the path and the query of a request. The text of a search may be the name
// of a person. The list has no hashes of names, so every such text is replaced if the tenant has erasures. A request
// without a key is compared with the lists of all tenants.
func (w *Warehouse) redactRequest(request control.Request) control.Request {
	tenants := []uuid.UUID{request.Tenant.UUID}
	if !request.Tenant.Valid {
		tenants = w.erasures.lists.Tenants()
	}
	for _, tenant := range tenants {
		if w.erasures.lists.Has(tenant) {
			request = redactWith(w.erasures.lists.Matcher(tenant), request)
		}
	}
	return request
}

func redactWith(matcher erasure.Matcher, request control.Request) control.Request {
	request.Path, _ = matcher.Redact(request.Path, redacted)
	values, err := url.ParseQuery(request.Query)
	if err != nil {
		request.Query, _ = matcher.Redact(request.Query, redacted)
		return request
	}
	changed := false
	for name, texts := range values {
		for i, text := range texts {
			hidden, found := matcher.Redact(text, redacted)
			if name == "search" || name == "q" {
				hidden, found = redacted, true
			}
			texts[i], changed = hidden, changed || found
		}
	}
	if changed {
		request.Query = values.Encode()
	}
	return request
}
