package warehouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Versions of the schema of a tenant in which the tables that a check reads were added.
const (
	tombstonesVersion = 2
	manifestVersion   = 6 // published files and stale partitions
	epochsVersion     = 11
)

// checkOldStore checks a store with an older schema. Every check runs that needs no table or column of a later version.
// Rows are not compared with the published files, because the columns of an export depend on the schema.
func (v *verifier) checkOldStore(ctx context.Context, id uuid.UUID, read storeReader, version int) error {
	if err := read(func(db querier) error { return scanTables(ctx, db) }); err != nil {
		return err
	}
	skipped := []string{"the rows of its published files are not compared with its own"}
	if err := v.checkIDs(ctx, id, read, "verify/duplicates", FoundDuplicates); err != nil {
		return err
	}
	if version < tombstonesVersion {
		skipped = append(skipped, "it has no tombstones to check")
	} else if err := v.checkIDs(ctx, id, read, "verify/deleted_rows", FoundDeletedRows); err != nil {
		return err
	}
	if version < epochsVersion {
		skipped = append(skipped, "the numbers of its change feed are not checked")
	} else if err := v.checkSequence(ctx, id, read); err != nil {
		return err
	}
	if version < manifestVersion {
		skipped = append(skipped, "its published files are not checked, because it lists none")
	} else if err := v.checkOldFiles(ctx, id, read); err != nil {
		return err
	}
	v.skipOld(id, v.w.tenantPath(id), strings.Join(skipped, ", "))
	return nil
}

// skipOld adds a database with an older schema, and the checks that were left out.
func (v *verifier) skipOld(tenant uuid.UUID, path, skipped string) {
	v.skip(tenant, v.w.nameOf(path), fmt.Sprintf("an earlier version wrote it; until a command or server opens the data "+
		"folder and upgrades it, %s", skipped))
}

// checkOldFiles compares published files with the manifest of an older schema.
func (v *verifier) checkOldFiles(ctx context.Context, id uuid.UUID, read storeReader) error {
	var s publishedState
	if err := read(func(db querier) error {
		files, err := db.QueryContext(ctx, statements.Get("verify/old_files"))
		if err != nil {
			return err
		}
		defer files.Close()
		for files.Next() {
			var f PublishedFile
			var replaced bool
			if err := files.Scan(&f.Export, &f.Month, &f.Name, &f.Bytes, &f.SHA256, &replaced); err != nil {
				return err
			}
			if replaced {
				s.replaced = append(s.replaced, f.Name)
			} else {
				s.files = append(s.files, f)
			}
		}
		return files.Err()
	}); err != nil {
		return err
	}
	if err := read(func(db querier) error {
		stale, err := db.QueryContext(ctx, statements.Get("verify/old_unpublished"))
		if err != nil {
			return err
		}
		defer stale.Close()
		for stale.Next() {
			var p partition
			var name string
			if err := stale.Scan(&name, &p.month); err != nil {
				return err
			}
			if p.dataset, err = schema.DatasetNamed(name); err != nil {
				return err
			}
			s.pending = append(s.pending, p)
		}
		return stale.Err()
	}); err != nil {
		return err
	}
	if err := v.listFiles(id, &s); err != nil {
		return err
	}
	_, err := v.checkFiles(ctx, id, s)
	return err
}
