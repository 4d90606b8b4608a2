package duckdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A WAL describes the log of a database file. It is a sequence of entries. Each entry has a length, a checksum and a
// content, except the first one, which names the database that the log belongs to.
type WAL struct {
	Bytes   int64 // length of the file
	Commits int   // transactions that are complete and have valid checksums
	Good    int64 // length of the prefix that ends with the last of these commits
	// Torn reports that the rest is the beginning of a transaction, as a crash leaves it. DuckDB skips it.
	Torn bool
	// Fault describes the damage behind the prefix. No database must be opened with such a log. Empty: the log is sound.
	Fault string
	// Checkpoint is set if the last commit in the log is the beginning of a checkpoint. It is the pointer to the metadata
	// of this checkpoint. The header of the database has the same pointer if the checkpoint was completed.
	Checkpoint *uint64
}

// Numbers of DuckDB's format of the log, version 2. The content of an entry begins with a field number and the type of
// the entry. Each is one byte here, and a zero follows the field number.
const (
	walFieldType  = 100
	walCommit     = 100
	walCheckpoint = 99
	walFraming    = 16  // bytes: length and checksum
	maxWALHeader  = 256 // bytes: the first entry has a few dozen
	// maxWALCheckpoint is the length in bytes of the longest entry that begins a checkpoint: it has two small numbers.
	maxWALCheckpoint = 32
	walTypeOffset    = 2
)

// ReadWAL reads a log of size bytes. An error comes from r: damage of the log is part of the result.
func ReadWAL(r io.ReaderAt, size int64) (WAL, error) {
	wal := WAL{Bytes: size}
	header := make([]byte, min(size, maxWALHeader))
	if _, err := r.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return wal, err
	}
	at, err := walStart(header)
	if errors.Is(err, errTornEntry) { // DuckDB ignores such a log
		wal.Torn = true
		return wal, nil
	}
	if err != nil {
		wal.Fault = fmt.Sprintf("the first entry is damaged: %v", err)
		return wal, nil
	}
	wal.Good = at
	var checkpoint *uint64 // that the current transaction begins
	for at < size {
		length, fault, err := checkWALEntry(r, at, size)
		if err != nil {
			return wal, err
		}
		if errors.Is(fault, errTornEntry) {
			damage, err := checkTornEntry(r, at, size)
			if wal.Torn = damage == nil; damage != nil {
				wal.Fault = fmt.Sprintf("the entry at byte %d is damaged: %v", at, damage)
			}
			return wal, err
		}
		if fault != nil {
			wal.Fault = fmt.Sprintf("the entry at byte %d is damaged: %v", at, fault)
			return wal, nil
		}
		start := make([]byte, min(length, maxWALCheckpoint))
		if _, err := r.ReadAt(start, at+walFraming); err != nil && !errors.Is(err, io.EOF) {
			return wal, err
		}
		at += walFraming + length
		switch walType(start) {
		case walCheckpoint:
			checkpoint = walCheckpointPointer(start)
		case walCommit:
			wal.Commits++
			wal.Good = at
			wal.Checkpoint, checkpoint = checkpoint, nil
		}
	}
	wal.Torn = wal.Good < size
	return wal, nil
}

// walType returns the type of an entry from its content, or 0 if the content does not begin with a type.
func walType(content []byte) byte {
	if len(content) <= walTypeOffset || content[0] != walFieldType {
		return 0
	}
	return content[walTypeOffset]
}

// walCheckpointPointer returns the pointer to metadata in an entry that begins a checkpoint, or nil for another entry.
// DuckDB omits the number and the offset of a pointer if they are 0.
func walCheckpointPointer(content []byte) (pointer *uint64) {
	rest, ok := bytes.CutPrefix(content, []byte{walFieldType, 0, walCheckpoint, walFieldType + 1, 0})
	if !ok {
		return nil
	}
	pointer = new(uint64)
	for i, field := range [][]byte{{walFieldType, 0}, {walFieldType + 1, 0}} {
		value, has := bytes.CutPrefix(rest, field)
		if !has {
			continue
		}
		number, n := binary.Uvarint(value)
		if n <= 0 {
			return nil
		}
		if rest = value[n:]; i == 0 {
			*pointer = number
		}
	}
	if !bytes.Equal(rest, []byte{0xff, 0xff, 0xff, 0xff}) {
		return nil
	}
	return pointer
}

var errTornEntry = errors.New("it ends with the file")

// walStart returns the offset behind the first entry. The entry has no checksum, so an error means that it is not of
// the form that this program knows: its type, the version of the format and, with the newer storage versions, the 16
// numbers that identify the database, and the number of its checkpoint. The error is errTornEntry if the file ends
// within the entry.
func walStart(header []byte) (int64, error) {
	const typeVersion, version, identifier = 98, 2, 16
	in := bytes.NewReader(header)
	for _, field := range []struct {
		start    []byte
		numbers  int
		optional bool
	}{
		{[]byte{walFieldType, 0, typeVersion}, 0, false},
		{[]byte{walFieldType + 1, 0, version}, 0, false},
		{[]byte{walFieldType + 2, 0, identifier}, identifier, true},
		{[]byte{walFieldType + 3, 0}, 1, true},
		{[]byte{0xff, 0xff}, 0, false},
	} {
		rest := header[len(header)-in.Len():]
		switch common := rest[:min(len(rest), len(field.start))]; {
		case !bytes.HasPrefix(field.start, common) && field.optional:
			continue
		case !bytes.HasPrefix(field.start, common):
			return 0, errors.New("its type, version or end is another")
		}
		_, _ = in.Seek(int64(len(field.start)), io.SeekCurrent) // never fails
		for range field.numbers {
			if _, err := binary.ReadUvarint(in); err != nil {
				return 0, errTornEntry
			}
		}
		if len(rest) < len(field.start) {
			return 0, errTornEntry
		}
	}
	return int64(len(header) - in.Len()), nil
}

// checkWALEntry returns the length of the content of the entry at the offset. fault describes the damage of the entry;
// err is an error of r.
func checkWALEntry(r io.ReaderAt, at, size int64) (length int64, fault, err error) {
	if size-at < walFraming {
		return 0, errTornEntry, nil
	}
	framing := make([]byte, walFraming)
	if _, err := r.ReadAt(framing, at); err != nil {
		return 0, nil, err
	}
	stored := binary.LittleEndian.Uint64(framing)
	if stored == 0 {
		return 0, errors.New("its length is 0 bytes"), nil
	}
	if stored > uint64(size-at-walFraming) {
		return 0, errTornEntry, nil
	}
	length = int64(stored)
	sum, err := blockChecksum(io.NewSectionReader(r, at+walFraming, length))
	if err != nil {
		return 0, nil, err
	}
	if sum != binary.LittleEndian.Uint64(framing[8:]) {
		return 0, errors.New("its checksum does not match"), nil
	}
	return length, nil, nil
}

// checkTornEntry returns the damage of an entry whose length exceeds the rest of the file, or nil if a crash may have
// left it. A crash leaves nothing behind such an entry, and less of it than its checksum covers. If a later entry has
// a valid checksum, or the rest of the file has the checksum of this one, the length itself is damaged.
func checkTornEntry(r io.ReaderAt, at, size int64) (fault, err error) {
	if size-at < walFraming {
		return nil, nil
	}
	wrongLength := errors.New("its length is wrong, because a sound entry follows")
	framing := make([]byte, walFraming)
	if _, err := r.ReadAt(framing, at); err != nil {
		return nil, err
	}
	sum, err := blockChecksum(io.NewSectionReader(r, at+walFraming, size-at-walFraming))
	if err != nil {
		return nil, err
	}
	if sum == binary.LittleEndian.Uint64(framing[8:]) {
		return errors.New("its length is wrong, because it ends with the file"), nil
	}
	const window, start = 1 << 20, walFraming + walTypeOffset
	buffer := make([]byte, window+start)
	for from := at + walFraming; from < size; from += window {
		n, err := r.ReadAt(buffer[:min(int64(len(buffer)), size-from)], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for i := 0; i+start <= n && i < window; i++ {
			if buffer[i+walFraming] != walFieldType || buffer[i+walFraming+1] != 0 ||
				binary.LittleEndian.Uint64(buffer[i:]) < walTypeOffset {
				continue
			}
			if _, fault, err := checkWALEntry(r, from+int64(i), size); err != nil || fault == nil {
				return wrongLength, err
			}
		}
	}
	return nil, nil
}

// firstChecksum is the checksum of no bytes.
const firstChecksum = 5381

// blockChecksum returns DuckDB's checksum of a block or of an entry of the log.
func blockChecksum(r io.Reader) (sum uint64, err error) {
	sum = firstChecksum
	buffer := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, buffer)
		sum = addChecksum(sum, buffer[:n])
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return 0, err
		}
		return sum, nil
	}
}

// addChecksum continues a checksum with further bytes. Only the last part may have a length that is not a multiple of
// 8.
func addChecksum(sum uint64, part []byte) uint64 {
	for ; len(part) >= 8; part = part[8:] {
		sum ^= binary.LittleEndian.Uint64(part) * 0xbf58476d1ce4e5b9
	}
	if len(part) > 0 {
		sum ^= remainderChecksum(part)
	}
	return sum
}

// remainderChecksum returns the checksum of the last 1 to 7 bytes, which is a MurmurHash64A of them.
func remainderChecksum(rest []byte) uint64 {
	const multiplier, seed, shift = 0xc6a4a7935bd1e995, 0xe17a1465, 47
	h := seed ^ uint64(len(rest))*multiplier
	for i, b := range rest {
		h ^= uint64(b) << (8 * i)
	}
	h *= multiplier
	h ^= h >> shift
	h *= multiplier
	return h ^ h>>shift
}
