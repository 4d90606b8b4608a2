package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
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

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// checkControl reads every block and every row of the control database, and finds the tenants.
func (v *verifier) checkControl(ctx context.Context) error {
	path := v.w.folder.join(controlFile)
	if !v.offline {
		damaged, err := v.w.checkBlocks(ctx, uuid.Nil, &v.limit)
		if errors.Is(err, fs.ErrNotExist) {
			v.report(FoundControl, uuid.Nil, path, "the control database is missing")
		} else if err != nil {
			return err
		}
		v.reportBlocks(FoundControl, uuid.Nil, path, damaged)
		return v.register(ctx, v.w.DB)
	}
	info, err := v.w.folder.root.Lstat(controlFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report(FoundControl, uuid.Nil, path, "the control database is missing")
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || !v.checkWAL(path, uuid.Nil, FoundControlWAL):
		return nil
	}
	if sound, err := v.checkFileBlocks(ctx, FoundControl, uuid.Nil, path); err != nil || !sound {
		return err
	}
	return v.attached(ctx, FoundControl, uuid.Nil, "control", path, func(db *sql.DB, version int) error {
		if err := scanTables(ctx, db); err != nil || version < len(statements.Migrations("control")) {
			return err
		}
		content, err := control.Open(ctx, db, db)
		if err != nil {
			return err
		}
		return v.register(ctx, content)
	})
}

// register finds the tenants of the control database.
func (v *verifier) register(ctx context.Context, content *control.DB) error {
	tenants, err := content.Tenants(ctx)
	if err != nil {
		return err
	}
	v.registered = map[uuid.UUID]bool{}
	for _, t := range tenants {
		v.registered[t.ID] = true
		v.tenants[t.ID] = true
	}
	for _, fault := range content.DamagedKeys() {
		v.report(FoundControl, uuid.Nil, v.w.folder.join(controlFile), "%v", fault)
	}
	differences, err := content.CompareJournal(v.facts)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		v.report(FoundKeysDiffer, uuid.Nil, v.w.folder.join(controlFile), "%s", strings.Join(differences, "; "))
	}
	if !v.offline {
		return nil
	}
	histories, err := content.Histories(ctx)
	for tenant, history := range histories {
		if v.w.historyOf(tenant) == uuid.Nil { // the journal decides
			v.w.histories.byTenant[tenant] = history
		}
	}
	return err
}

// attached attaches a database of a stopped folder, and calls do with the version of its schema. If the version is
// newer than this program, it reports that instead. If reading the database shows that it is damaged, attached reports
// the damage with the kind and returns nil.
func (v *verifier) attached(ctx context.Context, kind FindingKind, tenant uuid.UUID, catalog, path string,
	do func(db *sql.DB, version int) error,
) error {
	if err := v.w.folder.forDuckDB(path); err != nil {
		return nil // a link is a finding already
	}
	db, detach, err := v.w.attachReadOnly(ctx, catalog, path)
	if err != nil {
		return v.reportUnreadable(ctx, kind, tenant, path, err)
	}
	defer func() { _ = detach() }() // nothing was written
	if tenant != uuid.Nil {
		if _, err := v.w.checkStore(ctx, tenant, db); err != nil {
			return v.reportUnreadable(ctx, kind, tenant, path, err)
		}
	}
	version, known := 0, len(statements.Migrations(storeKind(catalog)))
	err = db.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version)
	switch {
	case err == nil && version > known:
		v.report(FoundStoreNewer, tenant, path, "it has the schema version %d, and this voicory knows %d", version, known)
		return nil
	case err == nil:
		if version < known && tenant == uuid.Nil {
			v.skipOld(tenant, path, "it is read, and its keys are not compared")
		}
		err = do(db, version)
	}
	return v.reportUnreadable(ctx, kind, tenant, path, err)
}

// reportUnreadable reports an error that damage of a database caused. It returns every other error.
func (v *verifier) reportUnreadable(ctx context.Context, kind FindingKind, tenant uuid.UUID, path string,
	err error,
) error {
	condition, isCondition := (*ConditionError)(nil), false
	if isCondition = errors.As(err, &condition); isCondition && conditionFindings[condition.Kind] != "" {
		kind = conditionFindings[condition.Kind]
	} else {
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, ErrNoMemory), errors.Is(err, ErrNoSpace):
			return err
		case errors.Is(err, errNotStore):
			kind = FoundStoreForeign
		// The log is damaged, or belongs to another database. The replay of a sound log fails if the database is damaged.
		case isDamage(err) && strings.Contains(err.Error(), "WAL") && !strings.Contains(err.Error(), "Corrupt database"):
			kind = map[FindingKind]FindingKind{FoundControl: FoundControlWAL, FoundStoreDamaged: FoundWAL}[kind]
		case isDamage(err):
		case tenant != uuid.Nil:
			kind = FoundStoreUnavailable
		default:
			return err
		}
	}
	v.report(kind, tenant, path, "%s", firstLine(err))
	return nil
}

// conditionFindings are the findings of stores that are not opened because of a condition.
var conditionFindings = map[ConditionKind]FindingKind{
	StoreMissing: FoundStoreMissing, StoreForeign: FoundStoreForeign, StoreBehind: FoundStoreBehind,
	StoreNewer: FoundStoreNewer,
}

// scanTables reads every column of every table of the default database, so that DuckDB compares the checksums of the
// blocks that only the log names, and decodes all values.
func scanTables(ctx context.Context, db querier) error {
	tables, err := queryTexts(ctx, db, statements.Get("verify/tables"))
	if err != nil {
		return err
	}
	for _, table := range tables {
		if _, _, err := fingerprint(ctx, db, statements.Ident(table)); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

// fingerprint returns the number of rows of a relation, and a hash of them that does not depend on their order.
func fingerprint(ctx context.Context, db querier, relation string) (rows int64, hash string, err error) {
	all, err := db.QueryContext(ctx, statements.Fill("verify/fingerprint", "relation", relation))
	if err != nil {
		return 0, "", err
	}
	defer all.Close()
	for all.Next() {
		if err := all.Scan(&rows, &hash); err != nil {
			return 0, "", err
		}
	}
	return rows, hash, all.Err()
}

// checkTenant checks the store of a tenant and its published files, and compares them.
func (v *verifier) checkTenant(ctx context.Context, id uuid.UUID) error {
	path := v.w.tenantPath(id)
	if v.isDeleted(id) {
		v.report(FoundUnfinished, id, path, "the tenant was deleted, and a part of it could not be removed yet")
		return nil
	}
	if marked, err := v.w.folder.exists(v.w.erasingPath(id)); err == nil && marked {
		v.report(FoundUnfinished, id, v.w.erasingPath(id), "the erasure of a customer is not complete")
	}
	if !v.stores[id] {
		_, err := v.listPublished(id)
		if err == nil {
			_, err = v.w.storeExists(id)
		}
		return v.reportUnreadable(ctx, FoundStoreMissing, id, path, err)
	}
	if v.registered != nil && !v.registered[id] {
		v.report(FoundUnregistered, id, path, "the control database does not have the tenant")
	}
	if !v.offline {
		read := func(do func(querier) error) error {
			snapshot, err := v.w.ReadSnapshot(ctx, id)
			if err != nil {
				return err
			}
			return errors.Join(do(snapshot.Conn), snapshot.Close())
		}
		damaged, err := v.w.checkBlocks(ctx, id, &v.limit)
		v.reportBlocks(FoundStoreDamaged, id, path, damaged)
		if err == nil && len(damaged) == 0 {
			err = v.checkStore(ctx, id, read)
		}
		return v.reportUnreadable(ctx, FoundStoreDamaged, id, path, err)
	}
	if !v.checkWAL(path, id, FoundWAL) {
		return nil
	}
	if sound, err := v.checkFileBlocks(ctx, FoundStoreDamaged, id, path); err != nil || !sound {
		return err
	}
	return v.attached(ctx, FoundStoreDamaged, id, id.String(), path, func(db *sql.DB, version int) error {
		read := func(do func(querier) error) error { return do(db) }
		if version < len(statements.Migrations("tenant")) {
			return v.checkOldStore(ctx, id, read, version)
		}
		return v.checkStore(ctx, id, read)
	})
}

// isDeleted reports whether the journal has the deletion of a tenant.
func (v *verifier) isDeleted(id uuid.UUID) bool {
	return slices.ContainsFunc(v.facts, func(entry journal.Entry) bool {
		var deleted deletion
		return entry.Kind == journal.TenantDeleted && entry.Decode(&deleted) == nil && deleted.Tenant == id
	})
}

// A storeReader calls a function with one state of a store.
type storeReader func(do func(querier) error) error

// checkStore checks the rows of a tenant and its published files.
func (v *verifier) checkStore(ctx context.Context, id uuid.UUID, read storeReader) error {
	if err := read(func(db querier) error { return scanTables(ctx, db) }); err != nil {
		return err
	}
	if err := v.checkRows(ctx, id, read); err != nil {
		return err
	}
	months, err := v.checkPublished(ctx, id, read)
	if err != nil {
		return err
	}
	for _, dataset := range schema.Datasets {
		if !dataset.Monthly {
			months[dataset.Name] = []string{""}
		} else if err := read(func(db querier) error {
			stored, err := queryTexts(ctx, db, statements.Fill("lake/select_months", "dataset", dataset.Name))
			months[dataset.Name] = append(months[dataset.Name], stored...)
			return err
		}); err != nil {
			return err
		}
		slices.Sort(months[dataset.Name])
		for _, month := range slices.Compact(months[dataset.Name]) {
			p := partition{dataset: dataset, month: month}
			if err := read(func(db querier) error { return v.comparePartition(ctx, db, id, p) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRows checks that ids are unique, that no deleted row is stored, and the numbers of the change feed.
func (v *verifier) checkRows(ctx context.Context, id uuid.UUID, read storeReader) error {
	if err := v.checkIDs(ctx, id, read, "verify/duplicates", FoundDuplicates); err != nil {
		return err
	}
	if err := v.checkIDs(ctx, id, read, "verify/deleted_rows", FoundDeletedRows); err != nil {
		return err
	}
	return v.checkSequence(ctx, id, read)
}

// checkIDs reports the ids of each dataset that a statement selects.
func (v *verifier) checkIDs(ctx context.Context, id uuid.UUID, read storeReader, statement string,
	kind FindingKind,
) error {
	for _, dataset := range schema.Datasets {
		text := statements.Fill(statement, "dataset", statements.Ident(dataset.Name), "dataset_name",
			statements.Text(dataset.Name))
		var count int64
		var example sql.NullString
		if err := read(func(db querier) error {
			return db.QueryRowContext(ctx, text).Scan(&count, &example)
		}); err != nil {
			return err
		}
		if count > 0 {
			v.report(kind, id, v.w.tenantPath(id), "%s: %d ids, for example %s", dataset.Name, count, example.String)
		}
	}
	return nil
}

// checkSequence checks the numbers of the change feed.
func (v *verifier) checkSequence(ctx context.Context, id uuid.UUID, read storeReader) error {
	return read(func(db querier) error {
		faults, err := queryTexts(ctx, db, statements.Get("verify/sequence"))
		for _, fault := range faults {
			v.report(FoundSequence, id, v.w.tenantPath(id), "%s", fault)
		}
		return err
	})
}

// A publishedState holds the manifest of a tenant and its files in the file system, both at one time.
type publishedState struct {
	files   []PublishedFile
	pending []partition
	settled bool // no commit is unpublished, so no file may be missing in the manifest
	// Names of replaced files that earlier versions have kept beside the current ones.
	replaced []string
	set      publishedSet
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

// checkPublished compares the published files of a tenant with its manifest. It returns the months of the published
// files by dataset.
func (v *verifier) checkPublished(ctx context.Context, id uuid.UUID, read storeReader) (map[string][]string, error) {
	state, err := v.readPublished(ctx, id, read)
	if err != nil {
		return nil, err
	}
	return v.checkFiles(ctx, id, state)
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
