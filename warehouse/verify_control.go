package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/control"
)

// checkControl reads every block and every row of the control database, and finds the tenants.
func (v *verifier) checkControl(ctx context.Context) error {
	path := v.w.folder.join(controlFile)
	if !v.offline {
		damaged, err := v.w.checkBlocks(ctx, uuid.Nil, &v.limit)
		if errors.Is(err, fs.ErrNotExist) {
			v.report(FoundControl, uuid.Nil, path, "the control database is missing")
		} else if err != nil {
			return err
		}
		v.reportBlocks(FoundControl, uuid.Nil, path, damaged)
		return v.register(ctx, v.w.DB)
	}
	info, err := v.w.folder.root.Lstat(controlFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report(FoundControl, uuid.Nil, path, "the control database is missing")
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || !v.checkWAL(path, uuid.Nil, FoundControlWAL):
		return nil
	}
	if sound, err := v.checkFileBlocks(ctx, FoundControl, uuid.Nil, path); err != nil || !sound {
		return err
	}
	return v.attached(ctx, FoundControl, uuid.Nil, "control", path, func(db *sql.DB, version int) error {
		if err := scanTables(ctx, db); err != nil || version < len(statements.Migrations("control")) {
			return err
		}
		content, err := control.Open(ctx, db, db)
		if err != nil {
			return err
		}
		return v.register(ctx, content)
	})
}

// register finds the tenants of the control database.
func (v *verifier) register(ctx context.Context, content *control.DB) error {
	tenants, err := content.Tenants(ctx)
	if err != nil {
		return err
	}
	v.registered = map[uuid.UUID]bool{}
	for _, t := range tenants {
		v.registered[t.ID] = true
		v.tenants[t.ID] = true
	}
	for _, fault := range content.DamagedKeys() {
		v.report(FoundControl, uuid.Nil, v.w.folder.join(controlFile), "%v", fault)
	}
	differences, err := content.CompareJournal(v.facts)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		v.report(FoundKeysDiffer, uuid.Nil, v.w.folder.join(controlFile), "%s", strings.Join(differences, "; "))
	}
	if !v.offline {
		return nil
	}
	histories, err := content.Histories(ctx)
	for tenant, history := range histories {
		if v.w.historyOf(tenant) == uuid.Nil { // the journal decides
			v.w.histories.byTenant[tenant] = history
		}
	}
	return err
}
