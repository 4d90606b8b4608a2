package warehouse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/google/uuid"
)

// A commitID identifies a write transaction of a store. Each one stores its own in the clock of the store.
type commitID struct {
	storeIdentity
	Number int64 `json:"number"` // counts the write transactions of the history, and may skip numbers
}

// The file of commits has one slot for each tenant. Slots do not cross the sectors of a disk, so a power cut leaves the
// old or the new content of each.
const (
	commitSlot = 64 // bytes: the magic, a CRC-32C of the bytes behind it, the tenant, the history, the number
	commitSize = 48 // bytes of a slot that are used; the others are zero
)

var commitMagic = []byte("VCMT")

func (c commitID) encode() []byte {
	slot := make([]byte, commitSlot)
	copy(slot, commitMagic)
	copy(slot[8:], c.Tenant[:])
	copy(slot[24:], c.History[:])
	binary.LittleEndian.PutUint64(slot[40:], uint64(c.Number))
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:commitSize], castagnoli))
	return slot
}

func decodeCommit(slot []byte) (c commitID, ok bool) {
	if !bytes.HasPrefix(slot, commitMagic) ||
		binary.LittleEndian.Uint32(slot[4:]) != crc32.Checksum(slot[8:commitSize], castagnoli) {
		return c, false
	}
	copy(c.Tenant[:], slot[8:])
	copy(c.History[:], slot[24:])
	c.Number = int64(binary.LittleEndian.Uint64(slot[40:]))
	return c, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A commitFile records the last commit of each store outside of the folder of the stores, so that a store that lacks
// commits is recognized: one whose WAL was lost or cut, or that was replaced by an older copy.
//
// A slot is written after its commit, which DuckDB has synced by then, and is not synced itself. So a slot on the disk
// never names a commit that the disk does not have, and no crash makes a sound store look like one that lacks commits.
// A slot that is older than its store, damaged or missing proves nothing.
type commitFile struct {
	log *slog.Logger

	mu    sync.Mutex
	file  *os.File               // guarded by mu
	last  map[uuid.UUID]commitID // guarded by mu
	slots map[uuid.UUID]int64    // number of each tenant's slot; guarded by mu
	free  []int64                // numbers of unused slots below end; guarded by mu
	end   int64                  // number of slots in the file; guarded by mu
}

// openCommits opens the file of commits, and creates a missing one.
func (f *dataFolder) openCommits() (*commitFile, error) {
	name, err := f.resolve(f.join(commitsFile))
	if err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE, privateFile)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c := readCommits(text)
	c.log, c.file = f.log, file
	return c, nil
}

// readCommits returns the content of a file of commits. It is not open for writing.
func readCommits(text []byte) *commitFile {
	c := &commitFile{last: map[uuid.UUID]commitID{}, slots: map[uuid.UUID]int64{}}
	for ; len(text) > 0; text = text[min(commitSlot, len(text)):] {
		slot := c.end
		c.end++
		if len(text) >= commitSlot {
			if commit, ok := decodeCommit(text); ok {
				c.last[commit.Tenant], c.slots[commit.Tenant] = commit, slot
				continue
			}
		}
		c.free = append(c.free, slot)
	}
	return c
}

// record replaces the last commit of a tenant, which is durable. The caller holds the writing lock of the store, or is
// the only one that knows the store. A failure is logged only: the commit is durable, and the next one is recorded again.
func (c *commitFile) record(commit commitID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last[commit.Tenant] == commit {
		return
	}
	slot, known := c.slots[commit.Tenant]
	if !known {
		if n := len(c.free); n > 0 {
			slot, c.free = c.free[n-1], c.free[:n-1]
		} else {
			slot = c.end
			c.end++
		}
		c.slots[commit.Tenant] = slot
	}
	c.last[commit.Tenant] = commit
	if _, err := c.file.WriteAt(commit.encode(), slot*commitSlot); err != nil {
		c.log.Warn("record the last commit of a store; a loss of its WAL would not be noticed",
			"tenant", commit.Tenant, "error", err)
	}
}

// of returns the last recorded commit of a tenant, or the zero value.
func (c *commitFile) of(tenant uuid.UUID) commitID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[tenant]
}

// close syncs and closes the file.
func (c *commitFile) close() error { return errors.Join(c.file.Sync(), c.file.Close()) }
