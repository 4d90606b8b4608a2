package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// attached attaches a database of a stopped folder, and calls do with the version of its schema. If the version is
// newer than this program, it reports that instead. If reading the database shows that it is damaged, attached reports
// the damage with the kind and returns nil.
func (v *verifier) attached(ctx context.Context, kind FindingKind, tenant uuid.UUID, catalog, path string,
	do func(db *sql.DB, version int) error,
) error {
	if err := v.w.folder.forDuckDB(path); err != nil {
		return nil // a link is a finding already
	}
	db, detach, err := v.w.attachReadOnly(ctx, catalog, path)
	if err != nil {
		return v.reportUnreadable(ctx, kind, tenant, path, err)
	}
	defer func() { _ = detach() }() // nothing was written
	if tenant != uuid.Nil {
		if _, err := v.w.checkStore(ctx, tenant, db); err != nil {
			return v.reportUnreadable(ctx, kind, tenant, path, err)
		}
	}
	version, known := 0, len(statements.Migrations(storeKind(catalog)))
	err = db.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version)
	switch {
	case err == nil && version > known:
		v.report(FoundStoreNewer, tenant, path, "it has the schema version %d, and this voicory knows %d", version, known)
		return nil
	case err == nil:
		if version < known && tenant == uuid.Nil {
			v.skipOld(tenant, path, "it is read, and its keys are not compared")
		}
		err = do(db, version)
	}
	return v.reportUnreadable(ctx, kind, tenant, path, err)
}

// reportUnreadable reports an error that damage of a database caused. It returns every other error.
func (v *verifier) reportUnreadable(ctx context.Context, kind FindingKind, tenant uuid.UUID, path string,
	err error,
) error {
	condition, isCondition := (*ConditionError)(nil), false
	if isCondition = errors.As(err, &condition); isCondition && conditionFindings[condition.Kind] != "" {
		kind = conditionFindings[condition.Kind]
	} else {
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, ErrNoMemory), errors.Is(err, ErrNoSpace):
			return err
		case errors.Is(err, errNotStore):
			kind = FoundStoreForeign
		// The log is damaged, or belongs to another database. The replay of a sound log fails if the database is damaged.
		case isDamage(err) && strings.Contains(err.Error(), "WAL") && !strings.Contains(err.Error(), "Corrupt database"):
			kind = map[FindingKind]FindingKind{FoundControl: FoundControlWAL, FoundStoreDamaged: FoundWAL}[kind]
		case isDamage(err):
		case tenant != uuid.Nil:
			kind = FoundStoreUnavailable
		default:
			return err
		}
	}
	v.report(kind, tenant, path, "%s", firstLine(err))
	return nil
}

// conditionFindings are the findings of stores that are not opened because of a condition.
var conditionFindings = map[ConditionKind]FindingKind{
	StoreMissing: FoundStoreMissing, StoreForeign: FoundStoreForeign, StoreBehind: FoundStoreBehind,
	StoreNewer: FoundStoreNewer,
}

// scanTables reads every column of every table of the default database, so that DuckDB compares the checksums of the
// blocks that only the log names, and decodes all values.
func scanTables(ctx context.Context, db querier) error {
	tables, err := queryTexts(ctx, db, statements.Get("verify/tables"))
	if err != nil {
		return err
	}
	for _, table := range tables {
		if _, _, err := fingerprint(ctx, db, statements.Ident(table)); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

// fingerprint returns the number of rows of a relation, and a hash of them that does not depend on their order.
func fingerprint(ctx context.Context, db querier, relation string) (rows int64, hash string, err error) {
	all, err := db.QueryContext(ctx, statements.Fill("verify/fingerprint", "relation", relation))
	if err != nil {
		return 0, "", err
	}
	defer all.Close()
	for all.Next() {
		if err := all.Scan(&rows, &hash); err != nil {
			return 0, "", err
		}
	}
	return rows, hash, all.Err()
}

// checkTenant checks the store of a tenant and its published files, and compares them.
func (v *verifier) checkTenant(ctx context.Context, id uuid.UUID) error {
	path := v.w.tenantPath(id)
	if v.isDeleted(id) {
		v.report(FoundUnfinished, id, path, "the tenant was deleted, and a part of it could not be removed yet")
		return nil
	}
	if marked, err := v.w.folder.exists(v.w.erasingPath(id)); err == nil && marked {
		v.report(FoundUnfinished, id, v.w.erasingPath(id), "the erasure of a customer is not complete")
	}
	if !v.stores[id] {
		_, err := v.listPublished(id)
		if err == nil {
			_, err = v.w.storeExists(id)
		}
		return v.reportUnreadable(ctx, FoundStoreMissing, id, path, err)
	}
	if v.registered != nil && !v.registered[id] {
		v.report(FoundUnregistered, id, path, "the control database does not have the tenant")
	}
	if !v.offline {
		read := func(do func(querier) error) error {
			snapshot, err := v.w.ReadSnapshot(ctx, id)
			if err != nil {
				return err
			}
			return errors.Join(do(snapshot.Conn), snapshot.Close())
		}
		damaged, err := v.w.checkBlocks(ctx, id, &v.limit)
		v.reportBlocks(FoundStoreDamaged, id, path, damaged)
		if err == nil && len(damaged) == 0 {
			err = v.checkStore(ctx, id, read)
		}
		return v.reportUnreadable(ctx, FoundStoreDamaged, id, path, err)
	}
	if !v.checkWAL(path, id, FoundWAL) {
		return nil
	}
	if sound, err := v.checkFileBlocks(ctx, FoundStoreDamaged, id, path); err != nil || !sound {
		return err
	}
	return v.attached(ctx, FoundStoreDamaged, id, id.String(), path, func(db *sql.DB, version int) error {
		read := func(do func(querier) error) error { return do(db) }
		if version < len(statements.Migrations("tenant")) {
			return v.checkOldStore(ctx, id, read, version)
		}
		return v.checkStore(ctx, id, read)
	})
}

// isDeleted reports whether the journal has the deletion of a tenant.
func (v *verifier) isDeleted(id uuid.UUID) bool {
	return slices.ContainsFunc(v.facts, func(entry journal.Entry) bool {
		var deleted deletion
		return entry.Kind == journal.TenantDeleted && entry.Decode(&deleted) == nil && deleted.Tenant == id
	})
}

// A storeReader calls a function with one state of a store.
type storeReader func(do func(querier) error) error

// checkStore checks the rows of a tenant and its published files.
func (v *verifier) checkStore(ctx context.Context, id uuid.UUID, read storeReader) error {
	if err := read(func(db querier) error { return scanTables(ctx, db) }); err != nil {
		return err
	}
	if err := v.checkRows(ctx, id, read); err != nil {
		return err
	}
	months, err := v.checkPublished(ctx, id, read)
	if err != nil {
		return err
	}
	for _, dataset := range schema.Datasets {
		if !dataset.Monthly {
			months[dataset.Name] = []string{""}
		} else if err := read(func(db querier) error {
			stored, err := queryTexts(ctx, db, statements.Fill("lake/select_months", "dataset", dataset.Name))
			months[dataset.Name] = append(months[dataset.Name], stored...)
			return err
		}); err != nil {
			return err
		}
		slices.Sort(months[dataset.Name])
		for _, month := range slices.Compact(months[dataset.Name]) {
			p := partition{dataset: dataset, month: month}
			if err := read(func(db querier) error { return v.comparePartition(ctx, db, id, p) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRows checks that ids are unique, that no deleted row is stored, and the numbers of the change feed.
func (v *verifier) checkRows(ctx context.Context, id uuid.UUID, read storeReader) error {
	if err := v.checkIDs(ctx, id, read, "verify/duplicates", FoundDuplicates); err != nil {
		return err
	}
	if err := v.checkIDs(ctx, id, read, "verify/deleted_rows", FoundDeletedRows); err != nil {
		return err
	}
	return v.checkSequence(ctx, id, read)
}

// checkIDs reports the ids of each dataset that a statement selects.
func (v *verifier) checkIDs(ctx context.Context, id uuid.UUID, read storeReader, statement string,
	kind FindingKind,
) error {
	for _, dataset := range schema.Datasets {
		text := statements.Fill(statement, "dataset", statements.Ident(dataset.Name), "dataset_name",
			statements.Text(dataset.Name))
		var count int64
		var example sql.NullString
		if err := read(func(db querier) error {
			return db.QueryRowContext(ctx, text).Scan(&count, &example)
		}); err != nil {
			return err
		}
		if count > 0 {
			v.report(kind, id, v.w.tenantPath(id), "%s: %d ids, for example %s", dataset.Name, count, example.String)
		}
	}
	return nil
}

// checkSequence checks the numbers of the change feed.
func (v *verifier) checkSequence(ctx context.Context, id uuid.UUID, read storeReader) error {
	return read(func(db querier) error {
		faults, err := queryTexts(ctx, db, statements.Get("verify/sequence"))
		for _, fault := range faults {
			v.report(FoundSequence, id, v.w.tenantPath(id), "%s", fault)
		}
		return err
	})
}
