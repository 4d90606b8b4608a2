package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A DamagedBlock is a part of a database file that has other bytes than were written.
type DamagedBlock struct {
	At    int64  // offset in the file
	Fault string // two reads of the same bytes have the same fault
}

// HeadersBytes is the size in bytes of the headers at the beginning of a database file.
const HeadersBytes = 3 * headerBytes

// Numbers of DuckDB's format of database files. A file has three headers and then blocks of one size. Headers and
// blocks begin with a checksum of the rest. The second and the third header are those of the last two checkpoints. A
// block of metadata is divided into parts. Each part begins with a pointer to the part that continues it.
const (
	headerBytes   = 4096
	checksumBytes = 8
	metadataParts = 64
	noPointer     = ^uint64(0)
	pointerBlock  = 1<<56 - 1 // bits of a pointer: the number of the block; the bits above are the part
	minBlockBytes = 16 << 10
	maxBlockBytes = 256 << 10
	pointerBytes  = 8
	maxBlocks     = 1 << 40
)

// CheckBlocks compares the checksum of every header and of every block that the last checkpoint uses with its content.
// DuckDB reads a block only if a statement needs it, and the blocks of an index only to insert rows. Free blocks are
// not checked, because their content may be of any checkpoint, complete or not.
//
// The database may be attached. Its process may write a block while it is read here, so only a block that a second
// call returns with the same fault is damaged. An error is one of r.
func CheckBlocks(r io.ReaderAt) ([]DamagedBlock, error) {
	layout, damaged, err := readLayout(r)
	if err != nil || len(damaged) > 0 {
		return damaged, err
	}
	block := make([]byte, layout.blockBytes)
	for number := range layout.blocks {
		if layout.free[number] {
			continue
		}
		at := HeadersBytes + number*layout.blockBytes
		fault, err := readChecked(r, at, block)
		if err != nil {
			return nil, err
		}
		if fault != "" {
			damaged = append(damaged, DamagedBlock{at, fault})
		}
	}
	if len(damaged) == 0 {
		return nil, nil
	}
	after, changed, err := readLayout(r)
	if err != nil || len(changed) > 0 {
		return changed, err
	}
	return slices.DeleteFunc(damaged, func(d DamagedBlock) bool { // a checkpoint may have freed it meanwhile
		number := (d.At - HeadersBytes) / layout.blockBytes
		return number >= after.blocks || after.free[number]
	}), nil
}

// A fileLayout describes a file as its last checkpoint left it.
type fileLayout struct {
	blockBytes int64
	blocks     int64
	free       map[int64]bool // numbers of blocks
}

// readLayout reads the headers of a file and the list of its free blocks.
func readLayout(r io.ReaderAt) (layout fileLayout, damaged []DamagedBlock, err error) {
	header := make([]byte, headerBytes)
	var last struct{ Iteration, Meta, Free, Blocks, BlockBytes uint64 }
	for at := int64(0); at < HeadersBytes; at += headerBytes {
		fault, err := readChecked(r, at, header)
		if err != nil {
			return layout, nil, err
		}
		if fault != "" {
			damaged = append(damaged, DamagedBlock{at, fault})
			continue
		}
		checkpoint := last
		if _, err := binary.Decode(header[checksumBytes:], binary.LittleEndian, &checkpoint); err != nil {
			return layout, nil, err
		}
		if at > 0 && checkpoint.Iteration >= last.Iteration { // the first header is not of a checkpoint
			last = checkpoint
		}
	}
	if len(damaged) > 0 {
		return layout, damaged, nil
	}
	if last.BlockBytes < minBlockBytes || last.BlockBytes > maxBlockBytes || last.Blocks > maxBlocks {
		return layout, []DamagedBlock{{headerBytes, fmt.Sprintf("it names %d blocks of %d bytes", last.Blocks,
			last.BlockBytes)}}, nil
	}
	layout = fileLayout{blockBytes: int64(last.BlockBytes), blocks: int64(last.Blocks), free: map[int64]bool{}}
	fault, err := layout.readFreeList(r, last.Free)
	if fault != nil {
		damaged = append(damaged, *fault)
	}
	return layout, damaged, err
}

// readFreeList reads the numbers of the free blocks, which follow their count.
func (l *fileLayout) readFreeList(r io.ReaderAt, pointer uint64) (*DamagedBlock, error) {
	part := (l.blockBytes - checksumBytes) / metadataParts &^ 7
	block := make([]byte, l.blockBytes)
	count, counted := uint64(0), false
	for seen := map[uint64]bool{}; pointer != noPointer; {
		number, index := int64(pointer&pointerBlock), int64(pointer>>56)
		at := HeadersBytes + number*l.blockBytes
		if number >= l.blocks || index >= metadataParts || seen[pointer] {
			return &DamagedBlock{at, "the list of free blocks names no block of the file"}, nil
		}
		seen[pointer] = true
		fault, err := readChecked(r, at, block)
		if err != nil {
			return nil, err
		}
		if fault != "" {
			return &DamagedBlock{at, fault}, nil
		}
		content := block[checksumBytes+index*part : checksumBytes+(index+1)*part]
		pointer, content = binary.LittleEndian.Uint64(content), content[pointerBytes:]
		for ; len(content) >= 8; content = content[8:] {
			value := binary.LittleEndian.Uint64(content)
			switch {
			case !counted:
				count, counted = value, true
			case count > 0:
				l.free[int64(value&pointerBlock)] = true
				count--
			}
			if counted && count == 0 {
				return nil, nil
			}
		}
	}
	return nil, nil
}

// readChecked reads a header or a block and compares its checksum. It returns a fault if they differ, or if the file
// ends before.
func readChecked(r io.ReaderAt, at int64, block []byte) (fault string, err error) {
	n, err := r.ReadAt(block, at)
	if n < len(block) {
		if errors.Is(err, io.EOF) {
			return fmt.Sprintf("the file ends after %d of its %d bytes", n, len(block)), nil
		}
		return "", err
	}
	computed, stored := addChecksum(firstChecksum, block[checksumBytes:]), binary.LittleEndian.Uint64(block)
	if computed != stored {
		return fmt.Sprintf("its checksum is %016x, and its bytes have %016x", stored, computed), nil
	}
	return "", nil
}
