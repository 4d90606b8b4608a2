package duckdb

import (
	"encoding/binary"
	"io"
	"maps"
	"slices"
)

// TornBlocks returns the offsets of the blocks that a checkpoint may have left half-written when it was interrupted. The
// log is the one that the interruption left.
//
// A checkpoint writes to blocks that the last checkpoint does not use, with one exception: it puts new metadata into
// the free parts of a block of metadata, and writes this block whole, in its place. If the power fails before the block
// is durable, some of its pages are new and others are old. All parts that the last checkpoint uses have the same bytes
// in both, so nothing is lost. But the checksum of the block does not match, and DuckDB refuses the database.
//
// A block that was damaged otherwise is not returned, unless it has free parts and the damage coincides with an
// interrupted checkpoint.
func TornBlocks(r io.ReaderAt, log WAL) (torn []int64, err error) {
	if log.Checkpoint == nil {
		return nil, nil
	}
	layout, damaged, err := readHeaders(r)
	if err != nil || len(damaged) > 0 || layout.header.Meta == *log.Checkpoint {
		return nil, err
	}
	if fault, err := layout.readFree(r, true); err != nil || fault != nil {
		return nil, err
	}
	block := make([]byte, layout.blockBytes)
	for _, number := range slices.Sorted(maps.Keys(layout.parts)) {
		if layout.parts[number] == 0 || layout.free[number] || number >= layout.blocks {
			continue
		}
		fault, err := readChecked(r, layout.offset(number), block)
		if err != nil {
			return nil, err
		}
		if fault != "" {
			torn = append(torn, layout.offset(number))
		}
	}
	return torn, nil
}

// A ReaderWriterAt is an open file.
type ReaderWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// MendTornBlocks writes the checksums of the blocks that TornBlocks returns, and returns their number. The database is
// not attached. The caller syncs the file.
func MendTornBlocks(file ReaderWriterAt, log WAL) (mended int, err error) {
	torn, err := TornBlocks(file, log)
	if err != nil || len(torn) == 0 {
		return 0, err
	}
	layout, _, err := readHeaders(file)
	if err != nil {
		return 0, err
	}
	for _, at := range torn {
		sum, err := blockChecksum(io.NewSectionReader(file, at+checksumBytes, layout.blockBytes-checksumBytes))
		if err != nil {
			return mended, err
		}
		if _, err := file.WriteAt(binary.LittleEndian.AppendUint64(nil, sum), at); err != nil {
			return mended, err
		}
		mended++
	}
	return mended, nil
}
