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
func (w *Warehouse) eraseRefused(ctx context.Context, tenant uuid.UUID, matcher erasure.Matcher) (int64, error) {
	return w.removeRefused(ctx, func(line quarantineLine) bool {
		named, err := line.tenantNamed()
		return (err != nil || named == tenant) && matcher.Matches(string(line.text))
	})
}

// removeRefused removes the entries of the quarantine that selected reports, and returns their number.
func (w *Warehouse) removeRefused(
	ctx context.Context, selected func(quarantineLine) bool,
) (removed int64, err error) {
	w.refused.replaying.Lock()
	defer w.refused.replaying.Unlock()
	w.refused.mu.Lock() // no file is pruned meanwhile
	defer w.refused.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove from the quarantine: %w", err)
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
			if selected(line) {
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

// tenantNamed returns the tenant of an entry of the quarantine: that of its batch, or that of its row. It returns an
// error if the tenant is unknown.
func (l quarantineLine) tenantNamed() (uuid.UUID, error) {
	named := l.Tenant
	if named == "" {
		var row struct {
			Tenant string `json:"user_id"`
		}
		if err := json.Unmarshal([]byte(l.Row), &row); err != nil {
			return uuid.Nil, err
		}
		named = row.Tenant
	}
	return uuid.Parse(named)
}
