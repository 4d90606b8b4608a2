package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Names in an archive.
const (
	archiveDir      = "voicory-backup/"
	archiveData     = archiveDir + "data/"
	archiveJournal  = archiveDir + journalFile
	archiveManifest = archiveDir + "manifest.json"
)

// archiveWriter writes a backup into an archive, under a temporary name until it is complete.
type archiveWriter struct {
	path, temp string
	file       *os.File
	zip        *zstd.Encoder // nil: the archive is not compressed
	out        *tar.Writer
}

func createArchive(path string) (_ Writer, err error) {
	w := &archiveWriter{path: path, temp: filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+tempEnd)}
	if err := os.Remove(w.temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if w.file, err = os.OpenFile(w.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	var out io.Writer = w.file
	if strings.HasSuffix(path, ".zst") {
		if w.zip, err = zstd.NewWriter(w.file, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, errors.Join(err, w.Close())
		}
		out = w.zip
	}
	w.out = tar.NewWriter(out)
	return w, nil
}

// Close implements Writer. It removes an archive that was not completed.
func (w *archiveWriter) Close() error {
	if w.file == nil {
		return nil
	}
	if w.zip != nil {
		_ = w.zip.Close() // the archive is removed
	}
	return errors.Join(w.file.Close(), os.Remove(w.temp))
}

// Has implements Writer: an archive has no earlier content.
func (*archiveWriter) Has(string, int64) bool { return false }

// Previous implements Writer: an archive has no earlier backup.
func (*archiveWriter) Previous(uuid.UUID, string) (Tenant, bool) { return Tenant{}, false }

// Latest implements Writer: an archive has no earlier backup.
func (*archiveWriter) Latest(uuid.UUID) (Tenant, bool) { return Tenant{}, false }

// Note implements Writer: an archive is written from the beginning each time.
func (*archiveWriter) Note(Manifest) error { return nil }

func (w *archiveWriter) entry(name string, size int64) error {
	return w.out.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: time.Now(), Format: tar.FormatPAX})
}

func (w *archiveWriter) entryOf(name string, text []byte) error {
	if err := w.entry(name, int64(len(text))); err != nil {
		return err
	}
	_, err := w.out.Write(text)
	return err
}

// Add implements Writer. A file with another digest than the expected one stays in the archive, but not in the
// manifest.
func (w *archiveWriter) Add(ctx context.Context, c Content) (File, error) {
	file := File{Path: c.Path, Size: c.Size}
	if err := w.entry(archiveData+c.Path, c.Size); err != nil {
		return file, fmt.Errorf("copy %s: %w", c.Path, err)
	}
	digest := sha256.New()
	in := contextReader{ctx, io.NewSectionReader(c.File, 0, c.Size)}
	written, err := io.Copy(io.MultiWriter(w.out, digest), in)
	if err == nil && written != c.Size {
		err = fmt.Errorf("it has %d bytes instead of %d", written, c.Size)
	}
	if err != nil {
		return file, fmt.Errorf("copy %s: %w", c.Path, err)
	}
	file.SHA256 = hex.EncodeToString(digest.Sum(nil))
	if c.SHA256 != "" && file.SHA256 != c.SHA256 {
		return file, &ChangedError{c.Path, file.SHA256, c.SHA256}
	}
	return file, nil
}

// Commit implements Writer. It reads the archive back before it gives the archive its name.
func (w *archiveWriter) Commit(
	ctx context.Context, m Manifest, facts []journal.Entry, _ int,
) (removed []string, err error) {
	manifest, err := m.encode()
	if err != nil {
		return nil, err
	}
	text, err := w.journalText(facts)
	if err != nil {
		return nil, err
	}
	err = errors.Join(w.entryOf(archiveJournal, text), w.entryOf(archiveManifest, manifest), w.out.Close())
	if err != nil {
		return nil, err
	}
	if w.zip != nil {
		if err := w.zip.Close(); err != nil {
			return nil, err
		}
		w.zip = nil
	}
	if err := w.file.Sync(); err != nil {
		return nil, err
	}
	dropCache(w.file)
	written, err := openArchive(ctx, w.temp)
	if err == nil {
		_, err = Verify(ctx, written, m)
		err = errors.Join(err, written.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("read the archive back: %w", err)
	}
	if err := errors.Join(os.Rename(w.temp, w.path), w.file.Close()); err != nil {
		return nil, err
	}
	w.file = nil
	return nil, syncPath(filepath.Dir(w.path))
}

// journalText returns the text of a journal with the entries.
func (w *archiveWriter) journalText(entries []journal.Entry) ([]byte, error) {
	path := w.temp + ".journal"
	defer os.Remove(path)
	if err := errors.Join(os.RemoveAll(path), appendJournal(path, entries)); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// archive is an archive to read.
type archive struct {
	path     string
	manifest Manifest
	journal  []byte
}

// openArchive reads the archive once, to its manifest at the end.
func openArchive(ctx context.Context, path string) (_ Source, err error) {
	a := &archive{path: path}
	var manifest []byte
	err = a.read(ctx, func(name string, in io.Reader) (err error) {
		switch name {
		case archiveManifest:
			manifest, err = io.ReadAll(in)
		case archiveJournal:
			a.journal, err = io.ReadAll(in)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, damaged, _ := journal.Read(bytes.NewReader(a.journal)); len(damaged) > 0 { // a reader of bytes does not fail
		return nil, &DamagedError{Name: path + ", " + journalFile, Reason: fmt.Sprintf("lines %v are damaged", damaged)}
	}
	if manifest == nil {
		return nil, &DamagedError{Name: path, Reason: "it has no manifest; it is not a backup, or it is cut off"}
	}
	if a.manifest, err = decodeManifest(manifest); errors.Is(err, schema.ErrInvalid) {
		return nil, fmt.Errorf("%s: %w", path, err)
	} else if err != nil {
		return nil, &DamagedError{Name: path + ", manifest", Reason: err.Error()}
	}
	return a, nil
}

// read calls each with the entries of the archive. It returns a *DamagedError if the archive cannot be read to its end.
func (a *archive) read(ctx context.Context, each func(name string, in io.Reader) error) error {
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	content := bufio.NewReaderSize(contextReader{ctx, file}, 1<<20)
	var in io.Reader = content
	if magic, err := content.Peek(4); err == nil && bytes.Equal(magic, zstdMagic) {
		unzip, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer unzip.Close()
		in = unzip
	}
	entries, entry := tar.NewReader(in), ""
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			// The end of the compressed stream has the checksum of the last block.
			if _, err = io.Copy(io.Discard, in); err == nil {
				return nil
			}
		}
		if err == nil {
			entry = path.Clean(header.Name)
			err = each(entry, entries)
		}
		var damaged *DamagedError
		var system *fs.PathError
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &damaged), errors.As(err, &system): // of another file, or of the disk
			return err
		default:
			return &DamagedError{Name: a.path, Reason: fmt.Sprintf("after %q: %v", entry, err)}
		}
	}
}

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// List implements Source.
func (a *archive) List() ([]Manifest, []error, error) { return []Manifest{a.manifest}, nil, nil }

// Journal implements Source.
func (a *archive) Journal() ([]journal.Entry, []int, error) {
	return journal.Read(bytes.NewReader(a.journal))
}

// Close implements Source.
func (*archive) Close() error { return nil }

// Extract implements Source. It reads the archive once.
func (a *archive) Extract(ctx context.Context, files []File, create func(File) (io.WriteCloser, error)) error {
	wanted := map[string]File{}
	for _, file := range files {
		if file.Link == "" {
			wanted[file.Path] = file
		}
	}
	err := a.read(ctx, func(name string, in io.Reader) error {
		data, isData := strings.CutPrefix(name, archiveData)
		file, ok := wanted[data]
		if !isData || !ok {
			return nil
		}
		delete(wanted, data)
		damaged := func(reason string) error { return &DamagedError{Name: a.path, Path: file.Path, Reason: reason} }
		return extractFrom(ctx, in, file, create, damaged)
	})
	if err != nil {
		return err
	}
	for _, file := range wanted {
		return &DamagedError{Name: a.path, Path: file.Path, Reason: "it is missing"}
	}
	return nil
}
