package warehouse

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/atomicfile"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// An evicted file is a published file whose content is in the bucket of the lake only. Beside its name in published/ is
// its record, the name with recordSuffix. The record is durable before the content is removed, so a missing file
// without a record is damage, and one with a record is not. A record may stay beside a file that was fetched again.
//
// A record is a line of JSON and then the footer of the Parquet file, compressed, so that the statistics of a table
// need no evicted file. Statistics contain values of rows. Functions that move or remove published files therefore move
// or remove their records, too.
const recordSuffix = ".footer"

// evictedRecord is the first line of a record.
type evictedRecord struct {
	Export       string `json:"export"`
	Bytes        int64  `json:"bytes"` // of the file
	SHA256       string `json:"sha256"`
	FooterSHA256 string `json:"footer_sha256"`
}

// parquetMagic is at the beginning and at the end of a Parquet file. It follows the length of the footer.
const parquetMagic = "PAR1"

// readFooter returns the footer of a Parquet file with the length and the magic bytes that follow it.
func readFooter(in io.ReaderAt, size int64) ([]byte, error) {
	end := make([]byte, 4+len(parquetMagic))
	if _, err := in.ReadAt(end, size-int64(len(end))); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(end)) + int64(len(end))
	if string(end[4:]) != parquetMagic || length > size {
		return nil, errors.New("the file has no Parquet footer")
	}
	footer := make([]byte, length)
	_, err := in.ReadAt(footer, size-length)
	return footer, err
}

// parseRecord returns the parts of a record. It returns an error if the record is damaged.
func parseRecord(text []byte) (record evictedRecord, footer []byte, err error) {
	line, packed, _ := bytes.Cut(text, []byte("\n"))
	if err := json.Unmarshal(line, &record); err != nil {
		return record, nil, err
	}
	unpacked := flate.NewReader(bytes.NewReader(packed))
	if footer, err = io.ReadAll(io.LimitReader(unpacked, record.Bytes)); err != nil {
		return record, nil, err
	}
	if sum := sha256.Sum256(footer); hex.EncodeToString(sum[:]) != record.FooterSHA256 {
		return record, nil, errors.New("the checksum of the footer does not match")
	}
	return record, footer, nil
}

// encodeRecord returns the record of a published file.
func encodeRecord(file PublishedFile, footer []byte) ([]byte, error) {
	sum := sha256.Sum256(footer)
	line, err := json.Marshal(evictedRecord{file.Export, file.Bytes, file.SHA256, hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	var record bytes.Buffer
	record.Write(append(line, '\n'))
	packed, err := flate.NewWriter(&record, flate.DefaultCompression)
	if err == nil {
		_, err = packed.Write(footer)
	}
	if err == nil {
		err = packed.Close()
	}
	return record.Bytes(), err
}

// writeRecord writes a record beside the path of its file. The caller syncs it and its folder.
func (w *Warehouse) writeRecord(path string, record []byte) (err error) {
	temp, changed := atomicfile.TempName(path+recordSuffix), 0
	if err = w.folder.writeFile(temp, record); err == nil {
		err = w.folder.setMode(temp, false, &changed)
	}
	if err == nil {
		err = w.folder.rename(temp, path+recordSuffix)
	}
	if err != nil {
		err = errors.Join(err, w.folder.removeIfThere(temp))
	}
	return err
}

// isEvicted reports whether a published file has a record. The caller has found that the content of the file is
// missing.
func (w *Warehouse) isEvicted(tenant uuid.UUID, name string) (bool, error) {
	for _, dir := range w.PublishedDirs(tenant) { // in the order in which records move
		path, err := w.folder.resolve(filepath.Join(dir, name) + recordSuffix)
		if err != nil {
			return false, err
		}
		info, err := w.folder.root.Lstat(path)
		if err == nil {
			return info.Mode().IsRegular(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// A Footer reads the footer of a published Parquet file, and perhaps the rest of the file.
type Footer interface {
	io.ReaderAt
	io.Closer
}

// recordedFooter is the footer of an evicted file. Offsets are those of the file.
type recordedFooter struct {
	footer []byte
	start  int64
}

// ReadAt implements io.ReaderAt. It reads the footer and the magic bytes at the beginning of the file.
func (r recordedFooter) ReadAt(p []byte, offset int64) (int, error) {
	switch {
	case offset >= 0 && offset+int64(len(p)) <= int64(len(parquetMagic)):
		return copy(p, parquetMagic[offset:]), nil
	case offset >= r.start && offset+int64(len(p)) <= r.start+int64(len(r.footer)):
		return copy(p, r.footer[offset-r.start:]), nil
	}
	return 0, errors.New("only the footer of the file is on this disk")
}

// Close implements io.Closer.
func (recordedFooter) Close() error { return nil }

// OpenFooter opens a file of a tenant's export like OpenPublished. It does not fetch an evicted file from the bucket of
// the lake, unless its record is damaged: the footer is in the record.
func (w *Warehouse) OpenFooter(ctx context.Context, tenant uuid.UUID, export, name string) (
	file PublishedFile, footer Footer, err error,
) {
	if file, err = w.publishedFile(ctx, tenant, export, name); err != nil {
		return file, nil, err
	}
	content, err := w.openLocal(tenant, file)
	if errors.Is(err, fs.ErrNotExist) {
		for _, dir := range w.PublishedDirs(tenant) {
			text, err := w.folder.readFile(filepath.Join(dir, name) + recordSuffix)
			if err != nil {
				continue
			}
			record, footer, err := parseRecord(text)
			if err == nil && record.SHA256 == file.SHA256 {
				return file, recordedFooter{footer, file.Bytes - int64(len(footer))}, nil
			}
		}
	}
	if err != nil {
		_, content, err = w.OpenPublished(ctx, tenant, export, name)
	}
	if err != nil {
		return file, nil, err
	}
	return file, content, nil
}

// errObject is the kind of the error of an evicted file whose object in the bucket is missing or has another content.
var errObject = errors.New("the object in the bucket of the lake is missing or damaged")

// fetch fetches an evicted file from the bucket, and gives it its name in published/. Concurrent callers for the same
// file share one request. It returns errObject if the file must be published again. After any other error, the state of
// the file is unknown.
func (w *Warehouse) fetch(ctx context.Context, tenant uuid.UUID, file PublishedFile) error {
	c := w.lakeCache
	if c == nil {
		return &ConditionError{Kind: BucketFailing, Err: fmt.Errorf("published file %s of tenant %s is in the bucket of the "+
			"lake only; start the server with --lake and --lake-cache", file.Name, tenant)}
	}
	done := c.flights.DoChan(tenant.String()+"/"+file.Name, func() (any, error) {
		ended, err := c.begin()
		if err != nil {
			return nil, err
		}
		defer ended()
		err = w.fetchOnce(c.ctx, c, tenant, file)
		c.count(file.Bytes, err)
		return nil, err
	})
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case result := <-done:
		return result.Err
	}
}

// fetchOnce fetches an evicted file for fetch. ctx ends when the warehouse is closed.
func (w *Warehouse) fetchOnce(ctx context.Context, c *lakeCache, tenant uuid.UUID, file PublishedFile) (err error) {
	release, err := c.slots.Acquire(ctx, tenant, uuid.Nil)
	if err != nil {
		return fmt.Errorf("fetch %s: %w: %w", file.Name, ErrCacheBusy, err)
	}
	defer release()
	if content, err := w.openLocal(tenant, file); err == nil { // fetched after the caller had looked
		return content.Close()
	}
	unreserve, err := c.reserve(tenant, file)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", file.Name, err)
	}
	defer unreserve()
	w.evict(ctx)
	for try := 0; ; try++ { // a second time, because bytes may have been changed on the way
		err = w.download(ctx, c, tenant, file, func(temp string) error { return w.install(ctx, c, tenant, file, temp) })
		if !errors.Is(err, errObject) || errors.Is(err, fs.ErrNotExist) || try == 1 {
			break
		}
	}
	if errors.Is(err, errObject) {
		c.bucket.NoteDamaged(tenant, file.Export, file.Name)
	}
	return err
}

// download downloads the object of an evicted file to a temporary file and compares it with file. Then it calls
// install, which gives it its name.
func (w *Warehouse) download(ctx context.Context, c *lakeCache, tenant uuid.UUID, file PublishedFile,
	install func(temp string) error,
) (err error) {
	temp := filepath.Join(w.TempDir(), atomicfile.TempName(file.Name))
	name, err := w.folder.resolve(temp)
	if err != nil {
		return err
	}
	out, err := w.folder.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
	if err != nil {
		return w.folder.noteWrite(temp, err)
	}
	defer func() { err = errors.Join(err, w.folder.removeIfThere(temp)) }()
	sum, written := sha256.New(), &boundedWriter{out: out, left: file.Bytes}
	err = c.bucket.FetchPublished(ctx, tenant, file, io.MultiWriter(written, sum))
	mode, _ := w.folder.modeOf(filepath.Join(w.filesPath(tenant), file.Name), false)
	err = errors.Join(err, out.Chmod(mode))
	if err == nil && written.err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	switch {
	case written.err != nil: // the disk, not the bucket
		return w.folder.noteWrite(temp, written.err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errObject, err)
	case errors.Is(err, errObject): // it is longer than the file
		return err
	case err != nil:
		return c.fail(err)
	case written.left > 0 || hex.EncodeToString(sum.Sum(nil)) != file.SHA256:
		return fmt.Errorf("%w: the content of %s differs from the manifest", errObject, file.Name)
	}
	return install(temp)
}

// A boundedWriter writes to a file. It returns errObject if more bytes than left are written.
type boundedWriter struct {
	out  *os.File
	left int64
	err  error // of a write to the file
}

func (b *boundedWriter) Write(p []byte) (n int, err error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("%w: it is longer than the file", errObject)
	}
	if n, b.err = b.out.Write(p); b.err == nil {
		b.left -= int64(n)
	}
	return n, b.err
}

// install gives a fetched file its name, if the manifest still has it: an erasure may have removed it meanwhile. See
// tenantStore.naming.
func (w *Warehouse) install(ctx context.Context, c *lakeCache, tenant uuid.UUID, file PublishedFile, temp string,
) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.naming.Lock()
	defer store.naming.Unlock()
	var current bool
	err = store.db.QueryRowContext(ctx, statements.Get("lake/is_named"), sql.Named("name", file.Name)).Scan(&current)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: no such file", ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("published file: %w", err)
	}
	dir := w.replacedPath(tenant)
	if current {
		dir = w.filesPath(tenant)
	}
	if err := w.folder.mkdir(dir); err != nil {
		return err
	}
	if err := w.folder.rename(temp, filepath.Join(dir, file.Name)); err != nil {
		return err
	}
	if current { // replaced files are bounded by boundKept
		c.add(tenant, file)
	}
	return nil
}

// evictFiles removes the contents of published files. It keeps files that are not current, and files that were pinned
// meanwhile. The records are durable before the first name is removed. A crash between the removals of the names of a
// file leaves it in published/. It can be read there, and evicted again.
func (w *Warehouse) evictFiles(ctx context.Context, c *lakeCache, tenant uuid.UUID, names map[string]bool) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	if !store.publishing.TryLock() { // its names change at the moment
		return nil
	}
	defer store.publishing.Unlock()
	files, err := publishedFiles(ctx, store.db)
	if err != nil {
		return err
	}
	var recorded []PublishedFile
	var paths []string
	for _, file := range files {
		if !names[file.Name] {
			continue
		}
		path := filepath.Join(w.filesPath(tenant), file.Name)
		ready, err := w.recordFile(path, file)
		if err != nil {
			return err
		}
		if !ready {
			c.keep(tenant, file.Name)
			continue
		}
		recorded, paths = append(recorded, file), append(paths, path+recordSuffix)
	}
	if len(recorded) == 0 {
		return nil
	}
	err = w.folder.syncAll(func(yield func(string) bool) {
		for _, path := range append(paths, w.filesPath(tenant)) {
			if !yield(path) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	for _, file := range recorded {
		if err := c.remove(tenant, file.Name, func() error { return w.removeContent(tenant, file) }); err != nil {
			return err
		}
	}
	return nil
}

// blockBytes is the size of the blocks of most file systems.
const blockBytes = 4096

func blocks(bytes int64) int64 { return (bytes + blockBytes - 1) / blockBytes }

// recordFile writes the record of a file, unless it has one. It reports whether the content can be removed. A damaged
// content stays, so that its readers report the damage, and so does a file that needs no more blocks than its record.
func (w *Warehouse) recordFile(path string, file PublishedFile) (ready bool, err error) {
	content, err := w.fileVerifier.open(w.folder, path, file.Bytes, file.SHA256)
	if err != nil {
		return false, nil
	}
	defer content.Close()
	if text, err := w.folder.readFile(path + recordSuffix); err == nil {
		if record, _, err := parseRecord(text); err == nil && record.SHA256 == file.SHA256 {
			return true, nil
		}
	}
	footer, err := readFooter(content, file.Bytes)
	if err != nil {
		return false, nil
	}
	record, err := encodeRecord(file, footer)
	if err != nil || blocks(int64(len(record))) >= blocks(file.Bytes) {
		return false, err
	}
	return true, w.writeRecord(path, record)
}

// removeContent removes both names of a file, the one in the lake first. It keeps a name in the lake that is not a link
// to the file.
func (w *Warehouse) removeContent(tenant uuid.UUID, file PublishedFile) error {
	cause := w.inspectFile(tenant, file)
	if cause == nil {
		lake := file.partition().path(w, tenant, schema.MustExport(file.Export))
		if err := w.folder.removeIfThere(lake); err != nil {
			return err
		}
	}
	return w.folder.removeIfThere(filepath.Join(w.filesPath(tenant), file.Name))
}

// recordedNames returns the names of a tenant's current files that have a record.
func (w *Warehouse) recordedNames(tenant uuid.UUID) (names []string, err error) {
	entries, err := w.folder.readDir(w.filesPath(tenant))
	for _, entry := range entries {
		if name, isRecord := strings.CutSuffix(entry.Name(), recordSuffix); isRecord {
			names = append(names, name)
		}
	}
	return names, ignoreMissing(err)
}

// evictedNames returns the names of a tenant's current files that have a record and no content.
func (w *Warehouse) evictedNames(tenant uuid.UUID) (names []string, err error) {
	recorded, err := w.recordedNames(tenant)
	for _, name := range recorded {
		exists, failed := w.folder.exists(filepath.Join(w.filesPath(tenant), name))
		if err = errors.Join(err, failed); failed == nil && !exists {
			names = append(names, name)
		}
	}
	return names, err
}

// fetchEvicted fetches all evicted files of a tenant whose store cannot be read, so that the store can be rebuilt from
// them. Their names are in no manifest that can be trusted, so each file gets its name as its record has it.
func (w *Warehouse) fetchEvicted(ctx context.Context, tenant uuid.UUID) error {
	names, err := w.evictedNames(tenant)
	if err != nil || len(names) == 0 {
		return err
	}
	c := w.lakeCache
	if c == nil {
		return fmt.Errorf("%w: %d published files of tenant %s are in the bucket of the lake only, and the store is "+
			"rebuilt from them; start the server with --lake and --lake-cache, and repair while it runs", ErrUnavailable,
			len(names), tenant)
	}
	for _, name := range names {
		path := filepath.Join(w.filesPath(tenant), name)
		text, err := w.folder.readFile(path + recordSuffix)
		if err != nil {
			return err
		}
		record, _, err := parseRecord(text)
		if err != nil {
			return fmt.Errorf("record of the evicted file %s: %w", name, err)
		}
		file := PublishedFile{Export: record.Export, Name: name, Bytes: record.Bytes, SHA256: record.SHA256}
		err = w.download(ctx, c, tenant, file, func(temp string) error { return w.folder.rename(temp, path) })
		if err != nil {
			return fmt.Errorf("fetch the evicted file %s: %w", name, err)
		}
	}
	return nil
}
