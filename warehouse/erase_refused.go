package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/erasure"
)

// eraseRefused removes the entries of the quarantine that belong to the tenant and name an erased identity, in the row,
// the reason or the name of the file. An entry whose tenant is unknown, because its row could not be parsed, counts as
// one of the tenant. It returns the number of removed entries.
func (w *Warehouse) eraseRefused(ctx context.Context, tenant uuid.UUID, matcher erasure.Matcher) (removed int64, err error) {
	w.refused.replaying.Lock()
	defer w.refused.replaying.Unlock()
	w.refused.mu.Lock() // no file is pruned meanwhile
	defer w.refused.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("erase from the quarantine: %w", err)
		}
	}()
	infos, err := w.quarantined()
	if err != nil {
		return 0, err
	}
	for _, info := range infos {
		var kept bytes.Buffer
		of := int64(0)
		for line, err := range w.quarantineLines(ctx, info.Name()) {
			if err != nil {
				return removed, err
			}
			if belongsTo(line, tenant) && matcher.Matches(string(line.text)) {
				of++
			} else {
				kept.Write(line.text)
			}
		}
		if of == 0 {
			continue
		}
		if kept.Len() > 0 {
			if err := w.writeRefused(kept.Bytes(), originOf(info.Name())); err != nil {
				return removed, err
			}
		}
		if err := w.folder.removeDurable(w.folder.join(filepath.Join(quarantineDir, info.Name()))); err != nil {
			return removed, err
		}
		removed += of
	}
	return removed, nil
}

// belongsTo reports whether an entry of the quarantine belongs to the tenant, or to an unknown one.
func belongsTo(line quarantineLine, tenant uuid.UUID) bool {
	named := line.Tenant
	if named == "" {
		var row struct {
			Tenant string `json:"user_id"`
		}
		if json.Unmarshal([]byte(line.Row), &row) == nil {
			named = row.Tenant
		}
	}
	id, err := uuid.Parse(named)
	return err != nil || id == tenant
}
