package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A publishedState holds the manifest of a tenant and its files in the file system, both at one time.
type publishedState struct {
	files   []PublishedFile
	pending []partition
	settled bool // no commit is unpublished, so no file may be missing in the manifest
	// Names of replaced files that earlier versions have kept beside the current ones.
	replaced []string
	set      publishedSet
}

// checkPublished compares the published files of a tenant with its manifest. It returns the months of the published
// files by dataset.
func (v *verifier) checkPublished(ctx context.Context, id uuid.UUID, read storeReader) (map[string][]string, error) {
	state, err := v.readPublished(ctx, id, read)
	if err != nil {
		return nil, err
	}
	return v.checkFiles(ctx, id, state)
}

// readPublished reads the manifest and lists the files. A publication adds files before it adds them to the manifest,
// so none may run meanwhile.
func (v *verifier) readPublished(ctx context.Context, id uuid.UUID, read storeReader) (s publishedState, err error) {
	if !v.offline {
		store, release, err := v.w.tenant(ctx, id)
		if err != nil {
			return s, err
		}
		defer release()
		store.publishing.Lock()
		defer store.publishing.Unlock()
	}
	if err := read(func(db querier) (err error) {
		if s.files, err = publishedFiles(ctx, db); err == nil {
			s.pending, err = pendingPartitions(ctx, db, publishedFormat)
		}
		return err
	}); err != nil {
		return s, err
	}
	return s, v.listFiles(id, &s)
}

// listFiles lists the files of a tenant, and sets settled.
func (v *verifier) listFiles(id uuid.UUID, s *publishedState) error {
	marked, err := v.w.folder.exists(v.w.unpublishedPath(id))
	if err != nil {
		return err
	}
	s.settled = !marked && len(s.pending) == 0
	s.set, err = v.listPublished(id)
	return err
}

// isPending reports whether a partition has commits that are not published.
func isPending(pending []partition, p partition) bool {
	return slices.ContainsFunc(pending, func(other partition) bool { return other.name() == p.name() })
}

// checkFiles compares published files with a manifest. It returns the months of the published files by dataset.
func (v *verifier) checkFiles(ctx context.Context, id uuid.UUID, state publishedState) (map[string][]string, error) {
	months, known := map[string][]string{}, map[string]bool{}
	var inBucket []PublishedFile // and not on this disk
	for _, p := range state.pending {
		v.skip(id, p.name(), "it has commits that are not published yet; `voicory publish` publishes them")
	}
	for _, file := range state.files {
		export, err := schema.ExportNamed(file.Export)
		if err != nil {
			return nil, err
		}
		p := file.partition()
		months[p.dataset.Name] = append(months[p.dataset.Name], p.month)
		paths := map[string]map[string]fs.FileInfo{filepath.Join(v.w.filesPath(id), file.Name): state.set.names}
		if !isPending(state.pending, p) { // else the lake may have the next file already
			paths[p.path(v.w, id, export)] = state.set.lake
		}
		content := filepath.Join(v.w.filesPath(id), file.Name)
		_, evicted := state.set.names[content+recordSuffix]
		known[content+recordSuffix] = true
		if state.set.names[content] == nil && evicted {
			inBucket = append(inBucket, file)
		}
		var checked fs.FileInfo // both names are usually one file, which is read once
		var faults int          // number of findings before
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			known[path] = true
			info, ok := paths[path][path]
			if !ok && evicted {
				continue
			}
			if !ok {
				v.reportPartition(FoundPublishedMissing, id, path, p, "the file is missing")
				continue
			}
			if checked != nil && os.SameFile(checked, info) {
				if last := len(v.found.Findings) - 1; last >= faults {
					v.reportPartition(FoundPublishedDamaged, id, path, p, "%s", v.found.Findings[last].Detail)
				}
				continue
			}
			checked, faults = info, len(v.found.Findings)
			if err := v.checkContent(ctx, id, path, p, file, info); err != nil {
				return nil, err
			}
		}
		known[p.path(v.w, id, export)] = true
	}
	if err := v.checkEvicted(ctx, id, inBucket); err != nil {
		return nil, err
	}
	for path := range state.set.lake {
		p, ok := partitionOf(v.w.dir, path)
		if !known[path] && (!ok || !isPending(state.pending, p)) {
			v.report(FoundStray, id, path, "the manifest of the tenant does not have the file")
		}
	}
	for path := range state.set.names {
		if !known[path] && state.settled && !slices.Contains(state.replaced, filepath.Base(path)) {
			v.report(FoundStray, id, path, "the manifest of the tenant does not have the file")
		}
	}
	return months, nil
}

// checkEvicted compares the lengths of evicted files with those of their objects in the bucket. Without a bucket, and
// if it cannot be read, the files are skipped.
func (v *verifier) checkEvicted(ctx context.Context, id uuid.UUID, files []PublishedFile) error {
	if len(files) == 0 {
		return nil
	}
	part := fmt.Sprintf("%d published files", len(files))
	if v.w.lakeCache == nil {
		v.skip(id, part, "they are in the bucket of the lake only; a server with --lake-cache compares their lengths")
		return nil
	}
	objects, err := v.w.lakeCache.bucket.PublishedObjects(ctx, id)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		v.skip(id, part, fmt.Sprintf("they are in the bucket of the lake only, which cannot be read: %v", err))
		return nil
	}
	for _, file := range files {
		path := filepath.Join(v.w.filesPath(id), file.Name)
		switch bytes, exists := objects[file.Export+"/"+file.Name]; {
		case !exists:
			v.reportPartition(FoundPublishedMissing, id, path, file.partition(), "it is neither on this disk nor in the bucket")
		case bytes != file.Bytes:
			v.reportPartition(FoundPublishedDamaged, id, path, file.partition(),
				"its object in the bucket has %d bytes, and the manifest says %d", bytes, file.Bytes)
		default:
			v.found.Checked.InBucket++
		}
	}
	return nil
}

// partitionOf returns the partition of a file in the lake.
func partitionOf(dir, path string) (partition, bool) {
	parts := strings.Split(strings.TrimPrefix(path, filepath.Join(dir, lakeDir)+"/"), "/")
	if len(parts) < 3 {
		return partition{}, false
	}
	export, err := schema.ExportNamed(parts[1])
	p := partition{dataset: export.Source}
	if err == nil && export.Source.Monthly {
		p.month = strings.TrimPrefix(parts[2], "month=")
		day := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), export.Name+"-"), ".parquet")
		if _, err := time.Parse(time.DateOnly, day); err == nil && strings.HasPrefix(day, p.month+"-") {
			p.day = day
		}
	}
	return p, err == nil
}

// checkContent compares the length and the hash of a published file with the manifest. A file that was replaced
// meanwhile is not checked.
func (v *verifier) checkContent(ctx context.Context, id uuid.UUID, path string, p partition, file PublishedFile,
	info fs.FileInfo,
) error {
	if info.Size() != file.Bytes {
		v.reportPartition(FoundPublishedDamaged, id, path, p, "it has %d bytes, and the manifest says %d", info.Size(),
			file.Bytes)
		return nil
	}
	in, err := v.w.folder.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		v.reportPartition(FoundPublishedDamaged, id, path, p, "it cannot be opened: %v", err)
		return nil
	}
	defer in.Close()
	if opened, err := in.Stat(); err != nil || !os.SameFile(opened, info) {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, pacedReader{ctx, in, &v.limit}); err != nil {
		if ctx.Err() == nil {
			v.reportPartition(FoundPublishedDamaged, id, path, p, "it cannot be read: %v", err)
		}
		return ctx.Err()
	}
	if hash := hex.EncodeToString(sum.Sum(nil)); hash != file.SHA256 {
		v.reportPartition(FoundPublishedDamaged, id, path, p, "its SHA-256 is %s, and the manifest says %s", hash,
			file.SHA256)
	}
	v.found.Checked.Files++
	v.found.Checked.Bytes += file.Bytes
	return nil
}

// comparePartition compares the rows of the files of a partition with the store. It skips a partition with commits that
// are not published, and files that are findings already.
func (v *verifier) comparePartition(ctx context.Context, db querier, id uuid.UUID, p partition) error {
	pending, err := pendingPartitions(ctx, db, publishedFormat)
	if err != nil || isPending(pending, p) {
		return err
	}
	files, err := publishedFiles(ctx, db)
	if err != nil {
		return err
	}
	filter, err := p.filter()
	if err != nil {
		return err
	}
	for _, export := range schema.Exports {
		if export.Source.Name != p.dataset.Name {
			continue
		}
		stored := export.SelectWhere(filter.Literal(export.Source))
		path, published := p.path(v.w, id, export), export.SelectWhere("false")
		var paths []string
		var missing bool // a finding already, or replaced meanwhile
		for _, file := range files {
			if file.Export != export.Name || file.Month != p.month {
				continue
			}
			content, err := v.w.folder.open(filepath.Join(v.w.filesPath(id), file.Name))
			if err != nil {
				missing = true
				break
			}
			defer content.Close()
			// This path names the open file even if it is replaced.
			paths = append(paths, fmt.Sprintf("/dev/fd/%d", content.Fd()))
			if file.Day != "" {
				path = filepath.Dir(p.path(v.w, id, export)) // the month is one finding
			}
		}
		if missing || v.isDamaged(id, p) {
			continue
		}
		if len(paths) > 0 {
			published = export.SelectFromFiles(export, paths, schema.Filter{})
		}
		rows, err := v.compare(ctx, db, export, stored, published, func(detail string) {
			v.reportPartition(FoundDifference, id, path, p, "%s", detail)
		})
		if err != nil {
			return err
		}
		v.found.Checked.Partitions++
		v.found.Checked.Rows += rows
	}
	return nil
}

// isDamaged reports whether a file of the partition is a finding.
func (v *verifier) isDamaged(id uuid.UUID, p partition) bool {
	return slices.ContainsFunc(v.found.Findings, func(f Finding) bool {
		return f.Tenant.UUID == id && f.Kind == FoundPublishedDamaged && f.partition.dataset.Name == p.dataset.Name &&
			f.partition.month == p.month
	})
}

// compare compares two queries of an export, and calls report with their difference. It returns the rows of the second.
func (v *verifier) compare(ctx context.Context, db querier, export schema.Export, stored, published string,
	report func(string),
) (int64, error) {
	var rows [2]int64
	var hashes [2]string
	for i, query := range []string{stored, published} {
		relation := "(" + query + ")"
		if inexact := export.InexactColumns(); len(inexact) > 0 {
			relation = "(SELECT * EXCLUDE (" + strings.Join(inexact, ", ") + ") FROM " + relation + ")"
		}
		var err error
		if rows[i], hashes[i], err = fingerprint(ctx, db, relation); err != nil {
			return 0, err
		}
	}
	switch {
	case rows[0] != rows[1]:
		report(fmt.Sprintf("it has %d rows, and the store has %d", rows[1], rows[0]))
	case hashes[0] != hashes[1]:
		report(fmt.Sprintf("its %d rows have other values than the rows of the store", rows[1]))
	}
	return rows[1], nil
}
