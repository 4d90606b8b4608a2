// Package arrowtest checks in tests that Arrow data is in the canonical form that package arrowbatch describes. It
// shares no code with that package, and looks at one value at a time.
package arrowtest

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// CheckStream reads an Arrow IPC stream to its end, checks the buffers of each batch, and returns the number of rows.
func CheckStream(stream io.Reader) (rows int64, err error) {
	reader, err := ipc.NewReader(stream)
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	for reader.Next() {
		batch := reader.RecordBatch()
		if err := CheckBatch(batch); err != nil {
			return rows, fmt.Errorf("batch from row %d on: %w", rows, err)
		}
		rows += batch.NumRows()
	}
	return rows, reader.Err()
}

// CheckBatch checks the buffers of a batch.
func CheckBatch(batch arrow.RecordBatch) error {
	for i, column := range batch.Columns() {
		all := make([]bool, column.Len())
		for i := range all {
			all[i] = true
		}
		if err := check(column.Data(), all, false); err != nil {
			return fmt.Errorf("%s (%s): %w", batch.ColumnName(i), column.DataType(), err)
		}
	}
	return nil
}

// check checks an array. Values that are not visible must be NULL, or zero if required is set, and must not contain
// data.
func check(data arrow.ArrayData, visible []bool, required bool) error {
	n := data.Len()
	if data.Offset() != 0 || n != len(visible) {
		return fmt.Errorf("%d values from %d on, want %d from 0 on", n, data.Offset(), len(visible))
	}
	if union, ok := data.DataType().(*arrow.SparseUnionType); ok {
		return checkUnion(data, union, visible)
	}
	if data.DataType().ID() == arrow.NULL {
		return nil
	}
	valid, err := checkValidity(data, visible, required)
	if err != nil {
		return err
	}
	switch t := data.DataType().(type) {
	case *arrow.StructType:
		for i, field := range t.Fields() {
			if err := check(data.Children()[i], valid, required && i == 0); err != nil {
				return fmt.Errorf("member %s: %w", field.Name, err)
			}
		}
	case *arrow.FixedSizeListType:
		var elements []bool
		for _, v := range valid {
			for range t.Len() {
				elements = append(elements, v)
			}
		}
		if err := check(data.Children()[0], elements, data.DataType().ID() == arrow.MAP); err != nil {
			return fmt.Errorf("element: %w", err)
		}
	case *arrow.ListType, *arrow.MapType:
		elements := make([]bool, data.Children()[0].Len())
		offsets, err := checkOffsets(data.Buffers()[1], n, len(elements))
		if err != nil {
			return err
		}
		for i := range n {
			for j := offsets[i]; j < offsets[i+1]; j++ {
				elements[j] = valid[i]
			}
		}
		if err := check(data.Children()[0], elements, data.DataType().ID() == arrow.MAP); err != nil {
			return fmt.Errorf("element: %w", err)
		}
	case *arrow.StringType, *arrow.BinaryType:
		offsets, err := checkOffsets(data.Buffers()[1], n, len(bytesOf(data.Buffers()[2])))
		if err != nil {
			return err
		}
		for i := range n {
			if !valid[i] && offsets[i+1] != offsets[i] {
				return fmt.Errorf("NULL text %d has %d bytes", i, offsets[i+1]-offsets[i])
			}
		}
	case *arrow.BooleanType:
		return checkBits(data.Buffers()[1], valid)
	case arrow.FixedWidthDataType: // an index of a dictionary, too
		width := t.BitWidth() / 8
		values := bytesOf(data.Buffers()[1])
		if err := checkEnd(values, n*width); err != nil {
			return err
		}
		for i, v := range valid {
			if !v && anyBits(values[i*width:(i+1)*width]) {
				return fmt.Errorf("NULL value %d is %x", i, values[i*width:(i+1)*width])
			}
		}
		if t.ID() == arrow.DICTIONARY {
			all := make([]bool, data.Dictionary().Len())
			for i := range all {
				all[i] = true
			}
			return check(data.Dictionary(), all, false)
		}
	default:
		return fmt.Errorf("unknown type %s", t)
	}
	return nil
}

func checkUnion(data arrow.ArrayData, t *arrow.SparseUnionType, visible []bool) error {
	codes := bytesOf(data.Buffers()[1])
	if err := checkEnd(codes, len(visible)); err != nil {
		return err
	}
	for member, code := range t.TypeCodes() {
		selected := make([]bool, len(visible))
		for i, v := range visible {
			if !v && codes[i] != byte(t.TypeCodes()[0]) {
				return fmt.Errorf("hidden value %d selects member %d", i, codes[i])
			}
			selected[i] = v && codes[i] == byte(code)
		}
		if err := check(data.Children()[member], selected, false); err != nil {
			return fmt.Errorf("member %s: %w", t.Fields()[member].Name, err)
		}
	}
	return nil
}

// checkValidity returns for each value whether it is valid, and checks that no hidden value is.
func checkValidity(data arrow.ArrayData, visible []bool, required bool) ([]bool, error) {
	valid, bitmap := make([]bool, data.Len()), bytesOf(data.Buffers()[0])
	if required {
		if len(bitmap) > 0 {
			return nil, fmt.Errorf("bitmap of values that cannot be NULL")
		}
		return visible, nil
	}
	for i := range valid {
		valid[i] = len(bitmap) == 0 || bitmap[i/8]>>(i%8)&1 == 1
		if valid[i] && !visible[i] {
			return nil, fmt.Errorf("hidden value %d is not NULL", i)
		}
	}
	if len(bitmap) == 0 {
		return valid, nil
	}
	return valid, checkBits(data.Buffers()[0], valid)
}

// checkBits checks that each bit of a bitmap is zero if may does not allow it to be set, or if it is past the last
// value.
func checkBits(buffer *memory.Buffer, may []bool) error {
	bitmap := bytesOf(buffer)
	if len(bitmap) < (len(may)+7)/8 {
		return fmt.Errorf("bitmap of %d bytes for %d values", len(bitmap), len(may))
	}
	for i := range len(bitmap) * 8 {
		if (i >= len(may) || !may[i]) && bitmap[i/8]>>(i%8)&1 == 1 {
			return fmt.Errorf("bit %d of %d is set", i, len(may))
		}
	}
	return nil
}

// checkOffsets returns the n+1 offsets of values. The offsets must be ascending, from 0 to end.
func checkOffsets(buffer *memory.Buffer, n, end int) ([]int, error) {
	raw := bytesOf(buffer)
	if n == 0 && len(raw) == 0 {
		raw = make([]byte, 4)
	}
	if err := checkEnd(raw, (n+1)*4); err != nil {
		return nil, err
	}
	offsets := make([]int, n+1)
	for i := range offsets {
		offsets[i] = int(int32(binary.LittleEndian.Uint32(raw[i*4:])))
		if i > 0 && offsets[i] < offsets[i-1] {
			return nil, fmt.Errorf("offset %d is %d after %d", i, offsets[i], offsets[i-1])
		}
	}
	if offsets[0] != 0 || offsets[n] != end {
		return nil, fmt.Errorf("offsets from %d to %d of %d", offsets[0], offsets[n], end)
	}
	return offsets, nil
}

// checkEnd checks that a buffer ends after size bytes.
func checkEnd(buffer []byte, size int) error {
	if len(buffer) != size {
		return fmt.Errorf("buffer of %d bytes, want %d", len(buffer), size)
	}
	return nil
}

func anyBits(bytes []byte) bool {
	for _, b := range bytes {
		if b != 0 {
			return true
		}
	}
	return false
}

func bytesOf(buffer *memory.Buffer) []byte {
	if buffer == nil {
		return nil
	}
	return buffer.Bytes()
}
