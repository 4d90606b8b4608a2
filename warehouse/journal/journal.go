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
	Retention     Kind = "retention"      // how long the rows of a tenant are kept from now on
)

// An Entry is one fact. Entries with equal bytes are the same entry.
type Entry struct {
	Kind Kind            `json:"kind"`
	At   time.Time       `json:"at"` // when the fact was recorded, UTC; later than all entries that were known then
	Data json.RawMessage `json:"data"`
}

// Decode parses the data of the entry into value.
func (e Entry) Decode(value any) error {
	if err := json.Unmarshal(e.Data, value); err != nil {
		return fmt.Errorf("journal: data of an entry %q of %s: %w", e.Kind, e.At.Format(time.RFC3339), err)
	}
	return nil
}

// NewEntry returns an entry with the JSON of data. Its time is the present, or later if the clock was set back: the
// order of times is the order of facts.
func (j *Journal) NewEntry(kind Kind, data any) (Entry, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return Entry{}, fmt.Errorf("journal: entry %q: %w", kind, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := time.Now().UTC(); now.After(j.newest) {
		j.newest = now
	} else {
		j.newest = j.newest.Add(1)
	}
	return Entry{Kind: kind, At: j.newest, Data: encoded}, nil
}

// line is the form of an entry in the file.
type line struct {
	CRC32C string          `json:"crc32c"` // of the bytes of entry, 8 hexadecimal digits
	Entry  json.RawMessage `json:"entry"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(entry []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(entry, castagnoli)) }

// encode returns the line of the entry, without its newline.
func encode(e Entry) ([]byte, error) {
	entry, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("journal: entry %q: %w", e.Kind, err)
	}
	return json.Marshal(line{CRC32C: checksum(entry), Entry: entry})
}

// lineStart is how encode begins each line. JSON escapes the quotes of texts, so no text of an entry contains it.
var lineStart = []byte(`{"crc32c":"`)

// decode decodes the line at the start of text, and returns its length. It ignores the text after the line.
func decode(text []byte) (e Entry, length int, ok bool) {
	var l line
	in := json.NewDecoder(bytes.NewReader(text))
	if in.Decode(&l) != nil || l.CRC32C != checksum(l.Entry) || json.Unmarshal(l.Entry, &e) != nil {
		return Entry{}, 0, false
	}
	// The checksum does not cover the names of the members, which JSON decodes in any case of letters.
	length = int(in.InputOffset())
	form := fmt.Appendf(nil, `%s%s","entry":%s}`, lineStart, l.CRC32C, l.Entry)
	return e, length, bytes.Equal(form, text[:length])
}

// scan calls found with each sound line of a journal and its entry. It returns the numbers of the lines of the text
// that are not sound, from 1.
//
// Damage costs at most the entry whose bytes it changed. A line that is not sound is therefore searched for the
// beginnings of others: if a newline is damaged, it holds two.
func scan(text []byte, found func(line []byte, e Entry)) (damaged []int) {
	number := 0
	for l := range bytes.Lines(text) {
		number++
		l = bytes.TrimSuffix(l, []byte{'\n'})
		if e, length, ok := decode(l); ok && length == len(l) {
			found(l, e)
			continue
		}
		if len(l) > 0 {
			damaged = append(damaged, number)
		}
		for {
			at := bytes.Index(l, lineStart)
			if at < 0 {
				break
			}
			e, length, ok := decode(l[at:])
			if ok {
				found(l[at:at+length], e)
			}
			l = l[at+max(length, 1):]
		}
	}
	return damaged
}

// Read returns the entries of a journal file. Damaged holds the numbers of the lines that are not sound, from 1: their
// entries are lost, and all other entries are returned.
func Read(r io.Reader) (entries []Entry, damaged []int, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	damaged = scan(text, func(_ []byte, e Entry) { entries = append(entries, e) })
	return entries, damaged, nil
}

// Clean returns the text of a journal file without its damage, and the number of damaged lines.
func Clean(text []byte) (sound []byte, damaged int) {
	lines := scan(text, func(line []byte, _ Entry) { sound = append(append(sound, line...), '\n') })
	return sound, len(lines)
}

// A Journal is an open journal file. It is safe for concurrent use.
type Journal struct {
	open          func() (*os.File, error)
	onFailedWrite func(error) error // see OnFailedWrite; nil: none

	mu      sync.Mutex
	file    *os.File // nil after a failed write; opened again by the next one
	size    int64    // bytes of the file that are written and synced
	entries []Entry
	known   map[string]bool // lines of entries
	newest  time.Time       // of all entries, and of those of NewEntry
	damaged []int
	mirror  func(lines []string)
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
			j.note(e, string(encoded))
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

// OnFailedWrite sets a function that is called with the error of each failed write and returns the error to return. It
// must be called before the journal is used.
func (j *Journal) OnFailedWrite(call func(error) error) { j.onFailedWrite = call }

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

// note makes the entry known. The caller holds mu, unless the journal is not shared yet.
func (j *Journal) note(e Entry, line string) {
	j.known[line] = true
	if e.At.After(j.newest) {
		j.newest = e.At
	}
}

// Append writes and syncs entries that the journal does not hold yet. Either all of them are in the file when it
// returns nil, or none of them is when it returns an error.
func (j *Journal) Append(entries ...Entry) error {
	lines := make([]string, len(entries))
	for i, e := range entries {
		encoded, err := encode(e)
		if err != nil {
			return err
		}
		lines[i] = string(encoded)
	}
	added, err := j.add(entries, lines)
	if err == nil && len(added) > 0 && j.mirror != nil {
		j.mirror(added)
	}
	return err
}

// add appends the entries that are not known, and returns their lines.
func (j *Journal) add(entries []Entry, lines []string) (added []string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var text []byte
	var fresh []Entry
	for i, l := range lines {
		if !j.known[l] && !slices.Contains(added, l) {
			text, fresh, added = append(append(text, l...), '\n'), append(fresh, entries[i]), append(added, l)
		}
	}
	if len(added) == 0 {
		return nil, nil
	}
	if err := j.write(text); err != nil {
		return nil, err
	}
	for i, l := range added {
		j.note(fresh[i], l)
	}
	j.entries = append(j.entries, fresh...)
	allocate(j.file, j.size, reserve)
	return added, nil
}

// Mirror completes the journal from a second copy of its lines. It adds the entries that only the copy has, and returns
// their number, and the lines that the copy lacks. It ignores lines of the copy that are not sound. It passes lines
// that are appended later to write, in order. write handles its own failures: the next call of Mirror returns the lines
// that the copy lacks. Mirror is called before the journal is shared.
func (j *Journal) Mirror(copied []string, write func(lines []string)) (added int, lacking []string, err error) {
	var entries []Entry
	var lines []string
	has := map[string]bool{}
	for _, text := range copied {
		if e, length, ok := decode([]byte(text)); ok && length == len(text) {
			entries, lines, has[text] = append(entries, e), append(lines, text), true
		}
	}
	fresh, err := j.add(entries, lines)
	if err != nil {
		return 0, nil, err
	}
	for _, e := range j.entries {
		if encoded, err := encode(e); err == nil && !has[string(encoded)] {
			lacking = append(lacking, string(encoded))
		}
	}
	j.mirror = write
	return len(fresh), lacking, nil
}

// write appends text and syncs it. After a failure the next write begins with a new descriptor and removes the bytes of
// the failed one: a sync that failed once may report success later without having written anything. The caller holds
// mu.
func (j *Journal) write(text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("journal: %w", err)
			if j.onFailedWrite != nil {
				err = j.onFailedWrite(err)
			}
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

// Entries returns the entries of the kind in the order of their times. Entries of the second copy or of another journal
// stand behind later ones in the file.
func (j *Journal) Entries(kind Kind) []Entry {
	return Select(j.All(), kind)
}

// Select returns the entries of the kind in the order of their times.
func Select(entries []Entry, kind Kind) []Entry {
	var found []Entry
	for _, e := range entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b Entry) int { return a.At.Compare(b.At) })
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
