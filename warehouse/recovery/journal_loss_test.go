package recovery_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// damageLines flips a byte of each line of the journal that contains the text.
func damageLines(t *testing.T, dir, part string) {
	t.Helper()
	path := filepath.Join(dir, "journal.ndjson")
	var out strings.Builder
	for line := range strings.Lines(ReadFile(t, path)) {
		if strings.Contains(line, part) {
			line = line[:len(line)/2] + string([]byte{line[len(line)/2] ^ 1}) + line[len(line)/2+1:]
		}
		out.WriteString(line)
	}
	NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
}

// Revocations, settings of keys, erasures, deleted tenants and retentions are in the journal and in the control
// database. They hold whatever is lost of one of the two.
func TestJournal_FactsSurviveTheLossOfEitherFile(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	older := filepath.Join(t.TempDir(), "older.duckdb")
	keys := map[string]string{} // texts of keys
	ids := map[string]uuid.UUID{}
	for _, name := range []string{"valid", "revoked", "expired"} {
		key, text, err := w.CreateKey(t.Context(), TenantA, control.Secret, control.KeySettings{Label: name})
		NoError(t, err)
		keys[name], ids[name] = text, key.ID
	}
	deleted := uuid.New()
	for _, tenant := range []uuid.UUID{TenantA, TenantB, deleted} {
		Merge(t, w, schema.Customers, Row{"user_id": tenant, "id": ID(1), "phone_number": "+4915112345678",
			"created_at": time.Now().Add(-time.Hour)})
	}
	NoError(t, w.Close())
	CopyFile(t, filepath.Join(dir, "control.duckdb"), older)
	w = Open(t, dir)
	_, err := w.RevokeKey(t.Context(), ids["revoked"])
	NoError(t, err)
	past := time.Now().Add(-time.Second)
	_, err = w.UpdateKey(t.Context(), ids["expired"], control.KeySettings{Label: "expired", ExpiresAt: &past})
	NoError(t, err)
	NoError(t, w.SetRetention(t.Context(), TenantB, schema.Retention{"calls": {Months: 24}}))
	_, err = w.Erase(t.Context(), TenantA, "+4915112345678", warehouse.EraseOptions{})
	NoError(t, err)
	NoError(t, w.DeleteTenant(t.Context(), deleted))
	NoError(t, w.Close())

	control, journal := filepath.Join(dir, "control.duckdb"), filepath.Join(dir, "journal.ndjson")
	forgetCopy := func(t *testing.T) { ExecFile(t, control, "DELETE FROM journal") }
	sound := t.TempDir()
	for _, path := range []string{control, journal} {
		CopyFile(t, path, filepath.Join(sound, filepath.Base(path)))
	}
	for name, lose := range map[string]func(t *testing.T){
		"journal deleted":   func(t *testing.T) { NoError(t, os.Remove(journal)) },
		"journal cut":       func(t *testing.T) { NoError(t, os.Truncate(journal, 500)) },
		"all lines damaged": func(t *testing.T) { damageLines(t, dir, "{") },
		"revocations damaged, and copies": func(t *testing.T) {
			damageLines(t, dir, "revoked_at\":\"")
			damageLines(t, dir, "key_revoked")
			forgetCopy(t)
		},
		"control database deleted":        func(t *testing.T) { NoError(t, os.Remove(control)) },
		"control database of before":      func(t *testing.T) { CopyFile(t, older, control) },
		"copies lost":                     forgetCopy,
		"revocation lost in the database": func(t *testing.T) { ExecFile(t, control, "UPDATE keys SET revoked_at = NULL") },
		"hash of a key cut": func(t *testing.T) {
			ExecFile(t, control, "UPDATE keys SET sha256 = sha256[1:7] WHERE label <> 'valid'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{control, journal} {
				CopyFile(t, filepath.Join(sound, filepath.Base(path)), path)
			}
			lose(t)
			damaged := strings.Contains(name, "damaged") || name == "journal cut"
			for _, state := range []string{"opened", "opened again"} {
				w := Open(t, dir)
				for key, kind := range map[string]error{"valid": nil, "revoked": warehouse.ErrRevokedKey,
					"expired": warehouse.ErrExpiredKey} {
					if _, _, err := w.Authenticate(keys[key]); fmt.Sprint(err) != fmt.Sprint(kind) {
						t.Errorf("%s: key %q: got %v, want %v", state, key, err, kind)
					}
				}
				WantKind(t, w.CheckDeleted(deleted), warehouse.ErrTenantDeleted)
				Want(t, w.Retention(TenantB).String(), "calls=24mo")
				WantCounts(t, Merge(t, w, schema.Customers, Row{"user_id": TenantA, "id": ID(1), "created_at": past}),
					schema.Counts{Read: 1, Erased: 1})
				if got := Conditions(w); (got == "/journal_damaged/journal.ndjson") != damaged || !damaged && got != "" {
					t.Errorf("%s: got conditions %q", state, got)
				}
				if !damaged { // a repair verifies too
					found, err := w.Verify(t.Context(), uuid.Nil)
					NoError(t, err)
					for _, f := range found.Findings {
						if f.Kind == warehouse.FoundKeysDiffer || f.Kind == warehouse.FoundControl {
							t.Errorf("%s: got %+v", state, f)
						}
					}
				}
				NoError(t, w.Close())
				if damaged {
					repaired, err := warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
					if err != nil || len(repaired.Remaining) > 0 {
						t.Errorf("repair: %v, remaining %v", err, repaired.Remaining)
					}
					damaged = false
				}
			}
		})
	}
}

// verify compares the keys of a stopped folder with the journal.
func TestVerify_KeysThatDiffer(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	var last control.Key
	for range 3 {
		key, _, err := w.CreateKey(t.Context(), TenantA, control.Secret, control.KeySettings{})
		NoError(t, err)
		last = key
	}
	_, err := w.RevokeKey(t.Context(), last.ID)
	NoError(t, err)
	NoError(t, w.Close())
	path := filepath.Join(dir, "control.duckdb")
	sound := ReadFile(t, path)
	of := "WHERE id = '" + last.ID.String() + "'"
	for change, detail := range map[string]string{
		"UPDATE keys SET label = label": "",
		"UPDATE keys SET revoked_at = NULL " + of: "key " + last.ID.String() +
			" is revoked in the journal only",
		"UPDATE keys SET rate_limit = '9/1s' " + of: "key " + last.ID.String() +
			" has other settings in the journal",
		"DELETE FROM keys " + of: "key " + last.ID.String() + " is missing in the control database",
		"UPDATE keys SET revoked_at = now() WHERE revoked_at IS NULL": "is revoked in the control database only",
		"UPDATE keys SET id = uuid() " + of:                           "is missing in the journal",
	} {
		NoError(t, os.WriteFile(path, []byte(sound), 0o600))
		ExecFile(t, path, change)
		found, err := warehouse.VerifyFolder(t.Context(), warehouse.Options{Dir: dir}, uuid.Nil)
		NoError(t, err)
		var got string
		for _, f := range found.Findings {
			if f.Kind == warehouse.FoundKeysDiffer {
				got += f.Detail
			}
		}
		if !strings.Contains(got, detail) || detail == "" && got != "" {
			t.Errorf("%s: got %q, want %q", change, got, detail)
		}
	}
}

// verify says whether the copies of before an upgrade are still needed.
func TestVerify_CopiesOfUpgrades(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	Publish(t, w)
	NoError(t, w.Close())
	NoError(t, os.MkdirAll(filepath.Join(dir, "repaired", "before-tenant-schema-1"), 0o700))
	for _, detail := range []string{"everything is verified, so they can be removed", "keep them until nothing is wrong"} {
		found, err := warehouse.VerifyFolder(t.Context(), warehouse.Options{Dir: dir}, uuid.Nil)
		NoError(t, err)
		var got []string
		for _, f := range found.Findings {
			if f.File == "repaired/before-tenant-schema-1" {
				got = append(got, f.Detail)
			}
		}
		if len(got) != 1 || !strings.HasSuffix(got[0], detail) {
			t.Errorf("got %q, want %q", got, detail)
		}
		NoError(t, os.RemoveAll(filepath.Join(dir, "lake")))
	}
}
