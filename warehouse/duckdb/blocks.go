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
// The database may be attached. Its process may write a block while it is read here, so only a block that a second call
// returns with the same fault is damaged. An error comes from r.
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
		at := layout.offset(number)
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
	header     fileHeader
	blockBytes int64
	blocks     int64
	free       map[int64]bool // numbers of blocks
	// parts has the free parts of each block of metadata, a bit for each part. It is empty if the file has no free block
	// and no free part.
	parts map[int64]uint64
}

// A fileHeader is a header of the file, which a checkpoint writes last. Meta and Free are pointers to parts of
// metadata.
type fileHeader struct{ Iteration, Meta, Free, Blocks, BlockBytes uint64 }

// readLayout reads the headers of a file and the lists of its free blocks and parts.
func readLayout(r io.ReaderAt) (layout fileLayout, damaged []DamagedBlock, err error) {
	layout, damaged, err = readHeaders(r)
	if err != nil || len(damaged) > 0 {
		return layout, damaged, err
	}
	fault, err := layout.readFree(r, false)
	if fault != nil {
		damaged = append(damaged, *fault)
	}
	return layout, damaged, err
}

// readHeaders reads the headers of a file.
func readHeaders(r io.ReaderAt) (layout fileLayout, damaged []DamagedBlock, err error) {
	block := make([]byte, headerBytes)
	last := &layout.header
	for at := int64(0); at < HeadersBytes; at += headerBytes {
		fault, err := readChecked(r, at, block)
		if err != nil {
			return layout, nil, err
		}
		if fault != "" {
			damaged = append(damaged, DamagedBlock{at, fault})
			continue
		}
		checkpoint := *last
		if _, err := binary.Decode(block[checksumBytes:], binary.LittleEndian, &checkpoint); err != nil {
			return layout, nil, err
		}
		if at > 0 && checkpoint.Iteration >= last.Iteration { // the first header is not of a checkpoint
			*last = checkpoint
		}
	}
	if len(damaged) > 0 {
		return layout, damaged, nil
	}
	if last.BlockBytes < minBlockBytes || last.BlockBytes > maxBlockBytes || last.Blocks > maxBlocks {
		return layout, []DamagedBlock{{headerBytes, fmt.Sprintf("it names %d blocks of %d bytes", last.Blocks,
			last.BlockBytes)}}, nil
	}
	layout.blockBytes, layout.blocks = int64(last.BlockBytes), int64(last.Blocks)
	return layout, nil, nil
}

// readFree reads the numbers of the free blocks and the free parts of the blocks of metadata. If torn is true, it also
// reads blocks whose checksum does not match.
func (l *fileLayout) readFree(r io.ReaderAt, torn bool) (*DamagedBlock, error) {
	l.free, l.parts = map[int64]bool{}, map[int64]uint64{}
	if l.header.Free == noPointer {
		return nil, nil
	}
	in := &metadataReader{r: r, layout: l, torn: torn, next: l.header.Free, seen: map[uint64]bool{}}
	var err error
	number := func() (n uint64) {
		if err == nil {
			err = binary.Read(in, binary.LittleEndian, &n)
		}
		return n
	}
	for n := number(); n > 0 && err == nil; n-- {
		l.free[int64(number()&pointerBlock)] = true
	}
	for n := number(); n > 0 && err == nil; n-- { // blocks that several columns share
		var users uint32
		number()
		if err == nil {
			err = binary.Read(in, binary.LittleEndian, &users)
		}
	}
	for n := number(); n > 0 && err == nil; n-- {
		block := int64(number() & pointerBlock)
		l.parts[block] = number()
	}
	switch {
	case errors.Is(err, errMetadata):
		return &in.fault, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &DamagedBlock{in.at, "the list of free blocks ends too early"}, nil
	}
	return nil, err
}

// errMetadata is the error of reading damaged metadata. The reader then has the fault.
var errMetadata = errors.New("the metadata is damaged")

// A metadataReader reads the content of a sequence of parts of metadata.
type metadataReader struct {
	r      io.ReaderAt
	layout *fileLayout
	torn   bool            // whether it reads blocks whose checksum does not match
	next   uint64          // pointer to the next part; noPointer: none
	seen   map[uint64]bool // pointers of the parts that were read
	block  []byte          // content of the block at the offset at; nil: none was read
	rest   []byte          // of the current part
	at     int64           // offset of the block of the current part
	fault  DamagedBlock    // set before Read returns errMetadata
}

func (m *metadataReader) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		if m.next == noPointer {
			return 0, io.EOF
		}
		if err := m.readPart(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// readPart reads the next part.
func (m *metadataReader) readPart() error {
	number, index := int64(m.next&pointerBlock), int64(m.next>>56)
	at := m.layout.offset(number)
	again := m.block != nil && at == m.at
	m.at = at
	if number >= m.layout.blocks || index >= metadataParts || m.seen[m.next] {
		m.fault = DamagedBlock{m.at, "the list of free blocks names no block of the file"}
		return errMetadata
	}
	m.seen[m.next] = true
	if !again {
		m.block = make([]byte, m.layout.blockBytes)
		fault, err := readChecked(m.r, m.at, m.block)
		if err != nil {
			return err
		}
		if fault != "" && !m.torn {
			m.fault = DamagedBlock{m.at, fault}
			return errMetadata
		}
	}
	size := (m.layout.blockBytes - checksumBytes) / metadataParts &^ 7
	part := m.block[checksumBytes+index*size : checksumBytes+(index+1)*size]
	m.next, m.rest = binary.LittleEndian.Uint64(part), part[pointerBytes:]
	return nil
}

// offset returns the offset of a block in the file.
func (l *fileLayout) offset(block int64) int64 { return HeadersBytes + block*l.blockBytes }

// readChecked reads a header or a block and verifies its checksum. It returns a fault if the checksum does not match,
// or if the file is too short.
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
