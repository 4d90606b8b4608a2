package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// format is the version of the form of manifests and folders.
const format = 1

// A Manifest describes one backup.
type Manifest struct {
	Format    int       `json:"format"`
	Name      string    `json:"name"` // start in UTC, such as 2026-11-27T10-15-03.120Z
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	Program   string    `json:"program"` // version of voicory
	Engine    string    `json:"engine"`  // version of DuckDB
	// Versions of the schemas of the databases. A program whose newest known version is lower cannot restore the backup.
	ControlSchema int `json:"control_schema"`
	TenantSchema  int `json:"tenant_schema"`
	// Only is the tenant of a backup of one tenant. Nil: the backup holds the whole data folder.
	Only    *uuid.UUID `json:"tenant,omitempty"`
	Files   []File     `json:"files"`   // files of no tenant: control database, signing key, quarantine
	Tenants []Tenant   `json:"tenants"` // in the order of their ids
	// Failed are the tenants that could not be copied, with the error.
	Failed map[uuid.UUID]string `json:"failed,omitempty"`
}

// A Tenant is the copy of one tenant, of one state of its store.
type Tenant struct {
	ID      uuid.UUID `json:"id"`
	History uuid.UUID `json:"history"` // of the store
	Seq     int64     `json:"seq"`     // last commit of the store
	// State identifies the file of the store that was copied. While it is the same, the copy is not made again.
	State string `json:"state"`
	// CopiedAt is when the store was last found in this state.
	CopiedAt time.Time `json:"copied_at"`
	Files    []File    `json:"files"` // store, its log, and published files
	// Missing are published files of the store's manifest that could not be copied, by path. A restore publishes them.
	Missing map[string]string `json:"missing,omitempty"`
}

// A File is a file of the data folder.
type File struct {
	Path   string `json:"path"` // below the data folder, with slashes
	Size   int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	// Link is the path of another file of the backup if this one is a hard link to it. The content is that file's.
	Link string `json:"link,omitempty"`
}

// Bytes returns the size of all files of the backup.
func (m Manifest) Bytes() (bytes int64) {
	for _, f := range m.AllFiles() {
		if f.Link == "" {
			bytes += f.Size
		}
	}
	return bytes
}

// AllFiles returns the files of the backup, those of tenants included.
func (m Manifest) AllFiles() (files []File) {
	files = append(files, m.Files...)
	for _, t := range m.Tenants {
		files = append(files, t.Files...)
	}
	return files
}

// Tenant returns the copy of a tenant.
func (m Manifest) Tenant(id uuid.UUID) (Tenant, bool) {
	for _, t := range m.Tenants {
		if t.ID == id {
			return t, true
		}
	}
	return Tenant{}, false
}

// signed is the form of a manifest in its file.
type signed struct {
	SHA256 string          `json:"sha256"` // of the bytes of Backup
	Backup json.RawMessage `json:"backup"`
}

func (m Manifest) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	text, err = json.Marshal(signed{SHA256: hex.EncodeToString(sum[:]), Backup: text})
	return append(text, '\n'), err
}

// decodeManifest returns an error if the text is not a sound manifest of a known format.
func decodeManifest(text []byte) (m Manifest, err error) {
	var s signed
	if err := json.Unmarshal(text, &s); err != nil {
		return m, errors.New("it is not JSON")
	}
	// Names of fields are read in any case, so a flipped bit in one would not be noticed.
	if again, err := json.Marshal(s); err != nil || string(again)+"\n" != string(text) {
		return m, errors.New("it was changed")
	}
	if sum := sha256.Sum256(s.Backup); hex.EncodeToString(sum[:]) != s.SHA256 {
		return m, errors.New("its checksum differs")
	}
	if err := json.Unmarshal(s.Backup, &m); err != nil {
		return m, err
	}
	if m.Format > format {
		return m, fmt.Errorf("%w: it was written by a newer version (format %d, this binary knows %d); upgrade voicory",
			schema.ErrInvalid, m.Format, format)
	}
	for _, f := range m.AllFiles() {
		if !filepath.IsLocal(f.Path) || filepath.Clean(f.Path) != f.Path || len(f.SHA256) != 2*sha256.Size {
			return m, fmt.Errorf("invalid entry %q", f.Path)
		}
		if _, err := hex.DecodeString(f.SHA256); err != nil {
			return m, fmt.Errorf("invalid entry %q", f.Path)
		}
	}
	return m, nil
}

// A DamagedError is a part of a backup that is not as it was written.
type DamagedError struct {
	Name   string // file of the backup that is damaged
	Path   string // path in the data folder of the content; "" for a manifest
	Reason string
}

func (e *DamagedError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("backup is damaged: %s: %s", e.Name, e.Reason)
	}
	return fmt.Sprintf("backup is damaged: %s, the copy of %s: %s", e.Name, e.Path, e.Reason)
}
