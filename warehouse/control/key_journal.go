package control

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
)

// # Keys in the journal
//
// Each change of a key is appended to the journal before it is written to the control database. So the journal has
// every key as it is now, whatever happens to the database: it is lost, or an older backup of it is restored.
// UseJournal makes the database agree with the journal, and the journal complete.

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
func (k *storedKey) facts() (entries []journal.Entry, err error) {
	fact := keyFact{Key: k.Key, SHA256: hex.EncodeToString(k.digest[:]), Inferred: k.revocationInferred}
	fact.LastUsedAt = nil // does not matter after a loss
	entry, err := journal.NewEntry(journal.Key, fact)
	if err != nil || k.RevokedAt == nil || k.revocationInferred {
		return []journal.Entry{entry}, err
	}
	revoked, err := journal.NewEntry(journal.KeyRevoked, revocation{k.ID, *k.RevokedAt})
	return []journal.Entry{entry, revoked}, err
}

// record appends keys to the journal before they are written to the control database. The caller holds changing.
func (d *DB) record(keys ...*storedKey) error {
	if d.journal == nil {
		return nil
	}
	var entries []journal.Entry
	for _, key := range keys {
		facts, err := key.facts()
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
	known, revoked, err := journaledKeys(j)
	if err != nil {
		return err
	}
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	d.journal = j
	var missing []*storedKey
	byID := map[uuid.UUID]*storedKey{}
	for _, key := range d.keys.keys {
		byID[key.ID] = key
		if known[key.ID] != nil {
			continue
		}
		missing = append(missing, key)
		if at, ok := revoked[key.ID]; ok { // the line of the key is lost, and its revocation still holds
			ended := &storedKey{Key: key.public(), digest: key.digest}
			ended.RevokedAt = &at
			known[key.ID] = ended
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
	return nil
}

// journaledKeys returns the keys of a journal by their ids, each as its last entry has it, and the times of revocations
// by the ids of their keys. A revocation that was not
// inferred holds whatever follows. Entries count in the order of their times, because a restore adds entries of another
// journal at the end.
func journaledKeys(j *journal.Journal) (
	keys map[uuid.UUID]*storedKey, revoked map[uuid.UUID]time.Time, err error,
) {
	keys, revoked = map[uuid.UUID]*storedKey{}, map[uuid.UUID]time.Time{}
	entries := j.Entries(journal.Key)
	slices.SortStableFunc(entries, func(a, b journal.Entry) int { return a.At.Compare(b.At) })
	for _, entry := range entries {
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
	for _, entry := range j.Entries(journal.KeyRevoked) {
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
		err := change.write(ctx, tx)
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
		if change.stored != nil {
			change.stored.revoke(ErrRevokedKey)
		}
	}
	return nil
}
