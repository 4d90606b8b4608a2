package warehouse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
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
	commitSlot = 64 // bytes: the magic, a CRC-32C of the bytes behind it, the tenant, the history, the number, the stamp
)

var commitMagic = []byte("VCMT")

// A fileStamp is the state of a store's file when it was detached. The zero value means that the file is attached, or
// was not detached by this program.
type fileStamp struct{ modified, size int64 } // Unix time in nanoseconds, bytes

func stampOf(info fs.FileInfo) fileStamp { return fileStamp{info.ModTime().UnixNano(), info.Size()} }

func (c commitID) encode(stamp fileStamp) []byte {
	slot := make([]byte, commitSlot)
	copy(slot, commitMagic)
	copy(slot[8:], c.Tenant[:])
	copy(slot[24:], c.History[:])
	binary.LittleEndian.PutUint64(slot[40:], uint64(c.Number))
	binary.LittleEndian.PutUint64(slot[48:], uint64(stamp.modified))
	binary.LittleEndian.PutUint64(slot[56:], uint64(stamp.size))
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:commitSlot], castagnoli))
	return slot
}

func decodeCommit(slot []byte) (c commitID, stamp fileStamp, ok bool) {
	if !bytes.HasPrefix(slot, commitMagic) ||
		binary.LittleEndian.Uint32(slot[4:]) != crc32.Checksum(slot[8:commitSlot], castagnoli) {
		return c, stamp, false
	}
	copy(c.Tenant[:], slot[8:])
	copy(c.History[:], slot[24:])
	c.Number = int64(binary.LittleEndian.Uint64(slot[40:]))
	stamp.modified = int64(binary.LittleEndian.Uint64(slot[48:]))
	stamp.size = int64(binary.LittleEndian.Uint64(slot[56:]))
	return c, stamp, true
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

	mu     sync.Mutex
	file   *os.File                // guarded by mu
	last   map[uuid.UUID]commitID  // guarded by mu
	slots  map[uuid.UUID]int64     // number of each tenant's slot; guarded by mu
	stamps map[uuid.UUID]fileStamp // of stores that are detached; guarded by mu
	free   []int64                 // numbers of unused slots below end; guarded by mu
	end    int64                   // number of slots in the file; guarded by mu
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

// readCommits returns the content of a file of commits. The returned commitFile is not open for writing.
func readCommits(text []byte) *commitFile {
	c := &commitFile{last: map[uuid.UUID]commitID{}, slots: map[uuid.UUID]int64{},
		stamps: map[uuid.UUID]fileStamp{}}
	for ; len(text) > 0; text = text[min(commitSlot, len(text)):] {
		slot := c.end
		c.end++
		if len(text) >= commitSlot {
			if commit, stamp, ok := decodeCommit(text); ok {
				c.last[commit.Tenant], c.slots[commit.Tenant], c.stamps[commit.Tenant] = commit, slot, stamp
				continue
			}
		}
		c.free = append(c.free, slot)
	}
	return c
}

// record replaces the last commit of a tenant, which is durable. The caller holds the writing lock of the store, or is
// the only one that knows the store. A failure is logged only: the commit is durable, and the next one is recorded
// again.
func (c *commitFile) record(commit commitID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last[commit.Tenant] == commit {
		return
	}
	if _, known := c.slots[commit.Tenant]; !known {
		slot := c.end
		if n := len(c.free); n > 0 {
			slot, c.free = c.free[n-1], c.free[:n-1]
		} else {
			c.end++
		}
		c.slots[commit.Tenant] = slot
	}
	c.last[commit.Tenant] = commit
	delete(c.stamps, commit.Tenant)
	c.write(commit.Tenant)
}

// write writes the slot of a tenant. The caller holds mu.
func (c *commitFile) write(tenant uuid.UUID) {
	_, err := c.file.WriteAt(c.last[tenant].encode(c.stamps[tenant]), c.slots[tenant]*commitSlot)
	if err != nil {
		c.log.Warn("record the last commit of a store; a loss of its WAL would not be noticed",
			"tenant", tenant, "error", err)
	}
}

// detached records the state of a store's file after its DETACH, if the store has commits.
func (c *commitFile) detached(tenant uuid.UUID, info fs.FileInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.last[tenant]; known && c.file != nil && c.stamps[tenant] != stampOf(info) {
		c.stamps[tenant] = stampOf(info)
		c.write(tenant)
	}
}

// isDetached reports whether the file of a store is as this program has left it at its last DETACH.
func (c *commitFile) isDetached(tenant uuid.UUID, info fs.FileInfo) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamps[tenant] == stampOf(info)
}

// of returns the last recorded commit of a tenant, or the zero value.
func (c *commitFile) of(tenant uuid.UUID) commitID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[tenant]
}

// close syncs and closes the file.
func (c *commitFile) close() error { return errors.Join(c.file.Sync(), c.file.Close()) }
