package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// Kind is the kind of fact that an entry records.
type Kind string

// Kinds of entries.
const (
	Key           Kind = "key"            // an API key with its hash and settings, at creation and at each change
	KeyRevoked    Kind = "key_revoked"    // the revocation of a key
	TenantDeleted Kind = "tenant_deleted" // a tenant whose data must not come back
	Erased        Kind = "erased"         // the salted hashes of an erased customer
	History       Kind = "history"        // the history that a tenant's file has from now on
)

// An Entry is one fact. Entries with equal bytes are the same entry.
type Entry struct {
	Kind Kind            `json:"kind"`
	At   time.Time       `json:"at"` // when the fact was recorded, UTC
	Data json.RawMessage `json:"data"`
}

// Decode parses the data of the entry into value.
func (e Entry) Decode(value any) error {
	if err := json.Unmarshal(e.Data, value); err != nil {
		return fmt.Errorf("journal: data of an entry %q of %s: %w", e.Kind, e.At.Format(time.RFC3339), err)
	}
	return nil
}

// NewEntry returns an entry of the present time with the JSON of data.
func NewEntry(kind Kind, data any) (Entry, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return Entry{}, fmt.Errorf("journal: entry %q: %w", kind, err)
	}
	return Entry{Kind: kind, At: time.Now().UTC(), Data: encoded}, nil
}

// line is the form of an entry in the file.
type line struct {
	CRC32C string          `json:"crc32c"` // of the bytes of entry, 8 hexadecimal digits
	Entry  json.RawMessage `json:"entry"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(entry []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(entry, castagnoli)) }

// encode returns the line of the entry, with its newline.
func encode(e Entry) ([]byte, error) {
	entry, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("journal: entry %q: %w", e.Kind, err)
	}
	encoded, err := json.Marshal(line{CRC32C: checksum(entry), Entry: entry})
	return append(encoded, '\n'), err
}

func decode(text []byte) (e Entry, ok bool) {
	var l line
	if json.Unmarshal(text, &l) != nil || l.CRC32C != checksum(l.Entry) || json.Unmarshal(l.Entry, &e) != nil {
		return Entry{}, false
	}
	return e, true
}

// Read returns the entries of a journal file. Damaged holds the numbers of the lines that are not sound, from 1: their
// entries are lost, and all other entries are returned.
func Read(r io.Reader) (entries []Entry, damaged []int, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for i, l := range bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'}) {
		if len(l) == 0 {
			continue
		}
		if e, ok := decode(l); ok {
			entries = append(entries, e)
		} else {
			damaged = append(damaged, i+1)
		}
	}
	return entries, damaged, nil
}

// A Journal is an open journal file. It is safe for concurrent use.
type Journal struct {
	open func() (*os.File, error)

	mu      sync.Mutex
	file    *os.File // nil after a failed write; opened again by the next one
	size    int64    // bytes of the file that are written and synced
	entries []Entry
	known   map[string]bool // lines of entries
	damaged []int
}

// reserve is the number of bytes that are allocated behind the last entry, so that revocations and erasures can be
// recorded on a full disk.
const reserve = 64 << 10

// Open opens the journal. open returns the file, for reading and writing, and creates a missing one. A last line
// without a newline, which a power cut during Append leaves, is ended: it counts as damaged unless it is complete.
func Open(open func() (*os.File, error)) (*Journal, error) {
	j := &Journal{open: open, known: map[string]bool{}}
	file, err := open()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), file.Close())
	}
	j.entries, j.damaged, _ = Read(bytes.NewReader(text)) // a reader of bytes does not fail
	for _, e := range j.entries {
		if encoded, err := encode(e); err == nil {
			j.known[string(encoded)] = true
		}
	}
	j.file, j.size = file, int64(len(text))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		if err := j.write([]byte{'\n'}); err != nil {
			return nil, errors.Join(err, j.Close())
		}
	}
	allocate(file, j.size, reserve)
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// Append writes and syncs entries that the journal does not hold yet. Either all of them are in the file when it
// returns nil, or none of them is when it returns an error.
func (j *Journal) Append(entries ...Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var text []byte
	var added []Entry
	var lines []string
	for _, e := range entries {
		encoded, err := encode(e)
		if err != nil {
			return err
		}
		if j.known[string(encoded)] || slices.Contains(lines, string(encoded)) {
			continue
		}
		text, added, lines = append(text, encoded...), append(added, e), append(lines, string(encoded))
	}
	if len(added) == 0 {
		return nil
	}
	if err := j.write(text); err != nil {
		return err
	}
	for _, l := range lines {
		j.known[l] = true
	}
	j.entries = append(j.entries, added...)
	allocate(j.file, j.size, reserve)
	return nil
}

// write appends text and syncs it. After a failure the next write begins with a new descriptor and removes the bytes of
// the failed one: a sync that failed once may report success later without having written anything. The caller holds
// mu.
func (j *Journal) write(text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("journal: %w", err)
			if j.file != nil {
				_ = j.file.Truncate(j.size) // the next write truncates again before it writes
				_ = j.file.Close()          // the error of the write is returned
				j.file = nil
			}
		}
	}()
	if j.file == nil {
		if j.file, err = j.open(); err != nil {
			return err
		}
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(text, j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(text))
	return nil
}

// Entries returns the entries of the kind in the order of the file.
func (j *Journal) Entries(kind Kind) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Entry
	for _, e := range j.entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// All returns all entries in the order of the file, for example to append them to another journal.
func (j *Journal) All() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// Damaged returns the numbers of the lines that were not sound when the journal was opened, from 1.
func (j *Journal) Damaged() []int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.damaged)
}
