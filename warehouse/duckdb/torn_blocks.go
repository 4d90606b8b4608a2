package duckdb

import (
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
)

// TornBlocks returns the offsets of the blocks that a checkpoint may have left half-written when it was interrupted.
// The log is the one that the interruption left.
//
// A checkpoint writes to blocks that the last checkpoint does not use, with one exception: it puts new metadata into
// the free parts of a block of metadata, and writes this block whole, in its place. If the power fails before the block
// is durable, some of its pages are new and others are old. All parts that the last checkpoint uses have the same bytes
// in both, so nothing is lost. But the checksum of the block does not match, and DuckDB refuses the database.
//
// If other damage of such a block coincides with an interrupted checkpoint, the block is returned too. Damage of other
// blocks is not.
func TornBlocks(r io.ReaderAt, log WAL) (torn []int64, err error) {
	err = eachSharedBlock(r, log, func(at int64, _ []byte, sound bool) error {
		if !sound {
			torn = append(torn, at)
		}
		return nil
	})
	return torn, err
}

// A ReaderWriterAt is an open file.
type ReaderWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// MendTornBlocks writes the blocks of metadata again that an interrupted checkpoint may have written in their place,
// with their checksums. It returns the number of those that were torn, even with an error. Blocks that are not torn are
// written too: after a failed sync, the kernel shows them whole, and the disk may have parts of them. The database is
// not attached. The caller syncs the file.
func MendTornBlocks(file ReaderWriterAt, log WAL) (torn int, err error) {
	err = eachSharedBlock(file, log, func(at int64, block []byte, sound bool) error {
		if !sound {
			torn++
			binary.LittleEndian.PutUint64(block, addChecksum(firstChecksum, block[checksumBytes:]))
		}
		_, err := file.WriteAt(block, at)
		return err
	})
	return torn, err
}

// eachSharedBlock calls do with the offset and the content of each block of metadata that the last checkpoint uses and
// that has free parts. It calls do only if the log says that a later checkpoint was interrupted. sound reports whether
// the checksum of the block matches. A block that is not wholly in the file is left out.
func eachSharedBlock(r io.ReaderAt, log WAL, do func(at int64, block []byte, sound bool) error) error {
	if log.Checkpoint == nil {
		return nil
	}
	layout, damaged, err := readHeaders(r)
	if err != nil || len(damaged) > 0 || layout.header.Meta == *log.Checkpoint {
		return err
	}
	if fault, err := layout.readFree(r, true); err != nil || fault != nil {
		return err
	}
	block := make([]byte, layout.blockBytes)
	for _, number := range slices.Sorted(maps.Keys(layout.parts)) {
		if layout.parts[number] == 0 || layout.free[number] || number >= layout.blocks {
			continue
		}
		at := layout.offset(number)
		if n, err := r.ReadAt(block, at); n < len(block) {
			if errors.Is(err, io.EOF) {
				continue
			}
			return err
		}
		sound := binary.LittleEndian.Uint64(block) == addChecksum(firstChecksum, block[checksumBytes:])
		if err := do(at, block, sound); err != nil {
			return err
		}
	}
	return nil
}
