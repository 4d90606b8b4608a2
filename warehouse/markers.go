package warehouse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// A Marker is a text that must not be in any file of the data folder, such as the phone number of an erased customer.
type Marker struct {
	Kind string // for reports, which do not show the text: number, id, name or e-mail address
	Text string
}

// A Remainder is a file that contains a marker.
type Remainder struct {
	File   string `json:"file"`   // relative to the data folder
	Marker string `json:"marker"` // kind of the marker
	Count  int    `json:"count"`
}

// FindMarkers searches the bytes of all files of the data folder for the markers, or of those that are not files of
// another tenant if tenant is not zero. It finds texts that are stored as they are, also as a part of longer texts. It
// does not decompress.
func (w *Warehouse) FindMarkers(
	ctx context.Context, tenant uuid.UUID, markers ...Marker,
) (found []Remainder, err error) {
	found = []Remainder{}
	err = filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(w.dir, path) // both are absolute
		if tenant != uuid.Nil && ofOneTenant(name) && !strings.Contains(name, tenant.String()) {
			return nil
		}
		counts, err := w.countMarkers(ctx, path, markers)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for i, count := range counts {
			if count > 0 {
				found = append(found, Remainder{name, markers[i].Kind, count})
			}
		}
		return err
	})
	return found, err
}

// ofOneTenant reports whether a file of the data folder belongs to one tenant.
func ofOneTenant(name string) bool {
	part, _, _ := strings.Cut(name, string(filepath.Separator))
	return part == warehouseDir || part == lakeDir || part == filesDir
}

// markerChunk is the number of bytes of a file that are searched at a time.
const markerChunk = 1 << 20

// countMarkers returns how often a file contains each marker.
func (w *Warehouse) countMarkers(ctx context.Context, path string, markers []Marker) (counts []int, err error) {
	file, err := w.folder.open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	counts = make([]int, len(markers))
	overlap := 0 // bytes of the previous chunk in which a marker may begin
	for _, marker := range markers {
		overlap = max(overlap, len(marker.Text)-1)
	}
	buffer, kept := make([]byte, overlap+markerChunk), 0
	for ctx.Err() == nil {
		n, err := io.ReadFull(file, buffer[kept:])
		chunk := buffer[:kept+n]
		for i, marker := range markers {
			// Only markers that end in the new bytes are counted; the others were counted before.
			from := max(0, kept-(len(marker.Text)-1))
			counts[i] += bytes.Count(chunk[from:], []byte(marker.Text))
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return counts, err
		}
		kept = copy(buffer, chunk[len(chunk)-overlap:])
	}
	return counts, ctx.Err()
}
