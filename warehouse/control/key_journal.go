package control

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// # Keys in the journal
//
// Each change of a key or of a retention is appended to the journal before it is written to the control database. So
// the journal has the current keys and retentions even if the database is lost or an older backup of it is restored.
// UseJournal makes the database agree with the journal, and adds to the journal the keys that only the database has. A
// permanent revocation holds if the database or the journal has it.

// A keyFact is the data of an entry of the kind [journal.Key].
type keyFact struct {
	Key
	SHA256   string `json:"sha256"`                        // of the key, in hexadecimal digits
	Inferred bool   `json:"revocation_inferred,omitempty"` // see storedKey
}

// A revocation is the data of an entry of the kind [journal.KeyRevoked]. It is permanent.
type revocation struct {
	Key uuid.UUID `json:"key_id"`
	At  time.Time `json:"at"`
}

// facts returns the entries that record a key.
func (k *storedKey) facts(j *journal.Journal) (entries []journal.Entry, err error) {
	fact := keyFact{Key: k.Key, SHA256: hex.EncodeToString(k.digest[:]), Inferred: k.revocationInferred}
	fact.LastUsedAt = nil // does not matter after a loss
	entry, err := j.NewEntry(journal.Key, fact)
	if err != nil || k.RevokedAt == nil || k.revocationInferred {
		return []journal.Entry{entry}, err
	}
	revoked, err := j.NewEntry(journal.KeyRevoked, revocation{k.ID, *k.RevokedAt})
	return []journal.Entry{entry, revoked}, err
}

// record appends keys to the journal before they are written to the control database. The caller holds changing.
func (d *DB) record(keys ...*storedKey) error {
	if d.journal == nil {
		return nil
	}
	var entries []journal.Entry
	for _, key := range keys {
		facts, err := key.facts(d.journal)
		if err != nil {
			return err
		}
		entries = append(entries, facts...)
	}
	return d.journal.Append(entries...)
}

// UseJournal makes the keys agree with the journal, adds the keys that the journal lacks to it, and records later
// changes in it. It is called after the control database is opened, and after entries of another journal were added.
func (d *DB) UseJournal(ctx context.Context, j *journal.Journal) error {
	known, revoked, err := journaledKeys(j.All())
	if err != nil {
		return err
	}
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	d.journal = j
	var missing []*storedKey // that the journal does not have as they are
	byID := map[uuid.UUID]*storedKey{}
	for _, key := range d.keys.keys {
		byID[key.ID] = key
		journaled := known[key.ID]
		if journaled == nil {
			missing = append(missing, key)
			if at, ok := revoked[key.ID]; ok { // the line of the key is lost, and its revocation still holds
				ended := &storedKey{Key: key.public(), digest: key.digest}
				ended.RevokedAt = &at
				known[key.ID] = ended
			}
			continue
		}
		if at := key.RevokedAt; at != nil && !key.revocationInferred &&
			(journaled.RevokedAt == nil || journaled.revocationInferred) { // the line of the revocation is lost
			journaled.RevokedAt, journaled.revocationInferred = at, false
			missing = append(missing, journaled)
		}
	}
	slices.SortFunc(missing, func(a, b *storedKey) int { return a.CreatedAt.Compare(b.CreatedAt) })
	if err := d.record(missing...); err != nil {
		return fmt.Errorf("record keys: %w", err)
	}
	var changes []keyChange
	for id, key := range known {
		if d.CheckDeleted(key.Tenant) != nil {
			continue
		}
		stored := byID[id]
		if stored == nil && d.keys.keys[key.digest] != nil || stored != nil && stored.agrees(key) {
			continue
		}
		if stored != nil {
			key.LastUsedAt = stored.public().LastUsedAt
		}
		if err := d.RegisterTenant(ctx, key.Tenant); err != nil {
			return err
		}
		changes = append(changes, keyChange{key, stored})
	}
	if err := d.writeChanges(ctx, changes); err != nil {
		return fmt.Errorf("restore keys from the journal: %w", err)
	}
	return d.useRetentions(ctx, j)
}

// journaledKeys returns the keys that entries of a journal record, by their ids and as the last entry has them. It also
// returns the times of permanent revocations, by the ids of their keys. A permanent revocation also holds if later
// entries record the key as valid.
func journaledKeys(facts []journal.Entry) (
	keys map[uuid.UUID]*storedKey, revoked map[uuid.UUID]time.Time, err error,
) {
	keys, revoked = map[uuid.UUID]*storedKey{}, map[uuid.UUID]time.Time{}
	for _, entry := range journal.Select(facts, journal.Key) {
		var fact keyFact
		if err := entry.Decode(&fact); err != nil {
			return nil, nil, err
		}
		key := &storedKey{Key: fact.Key, revocationInferred: fact.Inferred}
		if n, err := hex.Decode(key.digest[:], []byte(fact.SHA256)); err != nil || n != len(key.digest) {
			return nil, nil, fmt.Errorf("journal: key %s has no SHA-256", fact.ID)
		}
		if key.Origins == nil {
			key.Origins = []string{}
		}
		keys[key.ID] = key
	}
	for _, entry := range journal.Select(facts, journal.KeyRevoked) {
		var r revocation
		if err := entry.Decode(&r); err != nil {
			return nil, nil, err
		}
		if first, ok := revoked[r.Key]; !ok || r.At.Before(first) {
			revoked[r.Key] = r.At
		}
	}
	for id, at := range revoked {
		if key := keys[id]; key != nil {
			key.RevokedAt, key.revocationInferred = &at, false
		}
	}
	return keys, revoked, nil
}

// agrees reports whether the stored key is as the journal has it.
func (k *storedKey) agrees(journaled *storedKey) bool {
	return k.digest == journaled.digest && !journaled.differs(k) &&
		reflect.DeepEqual(k.normalized(), journaled.normalized())
}

// normalized returns the settings with times that can be compared.
func (k *storedKey) normalized() KeySettings {
	settings := k.KeySettings
	if settings.ExpiresAt != nil {
		at := settings.ExpiresAt.UTC().Truncate(time.Millisecond)
		settings.ExpiresAt = &at
	}
	if len(settings.Origins) == 0 {
		settings.Origins = nil
	}
	return settings
}

// writeChanges writes changes to the control database in one transaction, and then to the keyring. The caller holds
// changing.
func (d *DB) writeChanges(ctx context.Context, changes []keyChange) error {
	if len(changes) == 0 {
		return nil
	}
	slices.SortFunc(changes, func(a, b keyChange) int {
		return cmp.Or(a.key.CreatedAt.Compare(b.key.CreatedAt), slices.Compare(a.key.ID[:], b.key.ID[:]))
	})
	tx, err := duckdb.Begin(ctx, d.db)
	if err != nil {
		return err
	}
	for _, change := range changes {
		var err error
		if change.stored == nil && d.keys.damaged[change.key.ID] != nil {
			_, err = tx.ExecContext(ctx, statements.Get("control/delete_key"), idArg(change.key.ID))
		}
		if err == nil {
			err = change.write(ctx, tx)
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, statements.Get("control/update_key"),
				append(change.key.args(), idArg(change.key.ID))...)
		}
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, change := range changes {
		change.key.activate()
		d.keys.put(change.key)
		delete(d.keys.damaged, change.key.ID)
		if change.stored != nil {
			change.stored.revoke(ErrRevokedKey)
		}
	}
	return nil
}

// MirrorJournal adds the entries that only the copy in the control database has to the journal, and those that only the
// journal has to the copy. From then on it keeps the copy complete, so that either file alone has every fact, such as
// erasures, deleted tenants and revocations. It returns the number of entries that the journal lacked. It is called
// before the journal is used. failed is called with the errors of later writes of the copy, which the next call mends.
func (d *DB) MirrorJournal(ctx context.Context, j *journal.Journal, failed func(error)) (added int, err error) {
	copied, err := d.journalCopy(ctx)
	if err != nil {
		return 0, err
	}
	write := func(ctx context.Context, lines []string) error {
		text, err := json.Marshal(lines)
		if err != nil {
			return err
		}
		if _, err := d.db.ExecContext(ctx, statements.Get("control/insert_journal"),
			sql.Named("lines", string(text))); err != nil {
			return fmt.Errorf("copy entries of the journal: %w", err)
		}
		return nil
	}
	added, lacking, err := j.Mirror(copied, func(lines []string) {
		if err := write(context.Background(), lines); err != nil {
			failed(err)
		}
	})
	if err == nil && len(lacking) > 0 {
		err = write(ctx, lacking)
	}
	return added, err
}

// journalCopy returns the lines of the journal's copy.
func (d *DB) journalCopy(ctx context.Context) (lines []string, err error) {
	rows, err := d.db.QueryContext(ctx, "SELECT line FROM journal")
	if err != nil {
		return nil, fmt.Errorf("read the copy of the journal: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("read the copy of the journal: %w", err)
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// maxDifferences is the maximum number of keys that CompareJournal describes.
const maxDifferences = 10

// CompareJournal describes how the keys differ from those of the entries of a journal. The next call of UseJournal
// makes them agree.
func (d *DB) CompareJournal(facts []journal.Entry) (differences []string, err error) {
	known, revoked, err := journaledKeys(facts)
	if err != nil {
		return nil, err
	}
	deleted := map[uuid.UUID]bool{}
	for _, entry := range journal.Select(facts, journal.TenantDeleted) {
		var tenant struct {
			ID uuid.UUID `json:"tenant_id"`
		}
		if err := entry.Decode(&tenant); err != nil {
			return nil, err
		}
		deleted[tenant.ID] = true
	}
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	add := func(id uuid.UUID, difference string) {
		differences = append(differences, fmt.Sprintf("key %s %s", id, difference))
	}
	for _, key := range d.keys.keys {
		journaled := known[key.ID]
		delete(known, key.ID)
		_, ended := revoked[key.ID]
		permanent := key.RevokedAt != nil && !key.revocationInferred
		switch {
		case ended && !permanent:
			add(key.ID, "is revoked in the journal only")
		case journaled == nil:
			add(key.ID, "is missing in the journal")
		case permanent && !ended:
			add(key.ID, "is revoked in the control database only")
		case !key.agrees(journaled):
			add(key.ID, "has other settings in the journal")
		}
	}
	for id, key := range known {
		if d.keys.keys[key.digest] == nil && d.keys.damaged[id] == nil && !deleted[key.Tenant] {
			add(id, "is missing in the control database")
		}
	}
	slices.Sort(differences)
	if more := len(differences) - maxDifferences; more > 0 {
		differences = append(differences[:maxDifferences], fmt.Sprintf("and %d more", more))
	}
	return differences, nil
}

// A retentionFact is the data of an entry of the kind [journal.Retention].
type retentionFact struct {
	Tenant uuid.UUID        `json:"tenant_id"`
	Keep   schema.Retention `json:"keep"`
}

// useRetentions replaces the retentions in the control database by those of the journal. It adds retentions that only
// the control database has to the journal. The caller holds keys.changing.
func (d *DB) useRetentions(ctx context.Context, j *journal.Journal) error {
	last := map[uuid.UUID]schema.Retention{}
	for _, entry := range j.Entries(journal.Retention) {
		var fact retentionFact
		if err := entry.Decode(&fact); err != nil {
			return err
		}
		last[fact.Tenant] = fact.Keep
	}
	tenants, err := d.Tenants(ctx)
	if err != nil {
		return err
	}
	stored := map[uuid.UUID]string{}
	for _, t := range tenants {
		stored[t.ID] = t.Keep.String()
		if _, ok := last[t.ID]; !ok && len(t.Keep) > 0 {
			if err := d.recordRetention(t.ID, t.Keep); err != nil {
				return err
			}
		}
	}
	for tenant, keep := range last {
		if stored[tenant] == keep.String() || d.CheckDeleted(tenant) != nil {
			continue
		}
		if err := d.RegisterTenant(ctx, tenant); err != nil {
			return err
		}
		if err := d.storeRetention(ctx, tenant, keep); err != nil {
			return err
		}
	}
	return nil
}

// recordRetention appends the retention of a tenant to the journal. The caller holds keys.changing.
func (d *DB) recordRetention(tenant uuid.UUID, keep schema.Retention) error {
	if d.journal == nil {
		return nil
	}
	entry, err := d.journal.NewEntry(journal.Retention, retentionFact{tenant, keep})
	if err != nil {
		return err
	}
	return d.journal.Append(entry)
}
