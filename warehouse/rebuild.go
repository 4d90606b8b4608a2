package warehouse

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A rebuild makes a new store of a tenant from the rows that can be read of the old store, and from the published
// files. Rows and tombstones that only the damaged parts have are lost. Rows of published files lose the values that
// files do not have: the time of a version, the text of a duration and the shape of a transcript. Unless every row of
// the old store was read, the state of sources is lost, too, so that they bring their rows again.
type rebuild struct {
	r      *repairer
	tenant uuid.UUID
	// behind means that the old store lacks commits. A published file that its manifest does not have is then newer.
	behind  bool
	foreign bool    // the old store is not the tenant's
	db      *sql.DB // the new store
	old     string  // catalog of the old store; "": it cannot be read

	lastPublication time.Time // of the old store; zero: unknown

	salvaged, lost, published int64 // rows of the old store that were read, those that were not, rows of published files
}

// rebuildStore rebuilds the store of the finding's tenant, and publishes it.
func rebuildStore(ctx context.Context, r *repairer, f Finding) (string, error) {
	b := &rebuild{r: r, tenant: f.Tenant.UUID, foreign: f.Kind == FoundStoreForeign,
		behind: f.Kind == FoundStoreBehind || r.behind[f.Tenant.UUID]}
	delete(r.behind, b.tenant)
	if err := r.w.fetchEvicted(ctx, b.tenant); err != nil {
		return "", err
	}
	if err := r.w.withDetached(ctx, b.tenant, func() error { return b.replace(ctx) }); err != nil {
		return "", err
	}
	done := fmt.Sprintf("rebuilt with %d rows of the old store and %d rows of published files", b.salvaged, b.published)
	switch {
	case b.foreign:
		done += "; the old file was not the store of the tenant"
	case b.old == "":
		done += "; the old store could not be read"
	case b.lost > 0:
		done += fmt.Sprintf("; up to %d rows of the old store could not be read", b.lost)
	case b.behind:
		done += "; the old store lacked commits"
	}
	if !b.complete() {
		done += "; changes that were not published may be lost, and sources have to bring their rows again"
	}
	err := r.w.restartHistory(ctx, b.tenant, b.lastPublication, func(*tenantStore, *sql.Tx) error { return nil })
	if err != nil {
		return done, err
	}
	r.publish[b.tenant] = struct{}{}
	return done, nil
}

// complete reports whether every row of the tenant was read from the old store.
func (b *rebuild) complete() bool { return b.old != "" && b.lost == 0 && !b.behind }

// replace builds the new store in a temporary file and gives it the name of the old one, which is kept. A crash leaves
// the old store or the new one. If it leaves the log of the old one beside the new one, the next repair moves it aside.
func (b *rebuild) replace(ctx context.Context) (err error) {
	w, path := b.r.w, b.r.w.tenantPath(b.tenant)
	for _, part := range []string{path, path + ".wal"} {
		if err := b.r.copyAside(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := b.attachOld(ctx, path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.detachOld(ctx)) }()
	err = w.folder.writeAtomic(path, func(temp string) (err error) {
		if err := w.makeFile(ctx, b.tenant.String(), temp, b.blockSize()); err != nil {
			return err
		}
		const catalog = "rebuilt"
		if b.db, err = w.attachFile(ctx, catalog, temp, existingFile, nil); err != nil {
			return err
		}
		return errors.Join(b.fill(ctx), w.detach(context.WithoutCancel(ctx), catalog, temp, b.db))
	})
	if err != nil {
		return err
	}
	return w.folder.removeDurable(path + ".wal")
}

// blockSize returns the block size of the new store: large blocks if the store may have many rows.
func (b *rebuild) blockSize() int {
	const manyBytes = 4 << 20 // of published files
	bytes := int64(0)
	set, _ := newVerifier(b.r.w, b.tenant).listPublished(b.tenant) // a folder that cannot be read counts as empty
	for _, info := range set.lake {
		bytes += info.Size()
	}
	if bytes > manyBytes {
		return largeBlock
	}
	return smallBlock
}

// attachOld attaches the copy of the old store, if it can be opened, and without its log if that cannot be replayed.
func (b *rebuild) attachOld(ctx context.Context, path string) error {
	const catalog = "damaged"
	kept, err := b.r.keep(path)
	if err != nil || b.foreign {
		return err
	}
	if exists, err := b.r.w.folder.exists(kept); err != nil || !exists {
		return err
	}
	if err = b.r.w.tryLog(ctx, kept); err == nil {
		err = b.r.w.attachReplaced(ctx, catalog, kept)
	}
	if err != nil && isDamage(err) {
		// DuckDB does not find the log under this name.
		err = b.r.w.folder.rename(kept+".wal", kept+".wal.unread")
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			b.behind = true
			err = b.r.w.attachReplaced(ctx, catalog, kept)
		}
	}
	if err == nil {
		b.old = catalog
		b.lastPublication, err = b.r.w.lastPublication(ctx, catalog)
	} else if isDamage(err) {
		return nil
	}
	return err
}

// attachReplaced attaches a store that was replaced, for reading only.
func (w *Warehouse) attachReplaced(ctx context.Context, catalog, path string) error {
	_, err := w.loader.ExecContext(ctx, attachForReading(catalog, path))
	return err
}

func (b *rebuild) detachOld(ctx context.Context) error {
	if b.old == "" {
		return nil
	}
	return b.r.w.detach(context.WithoutCancel(ctx), b.old, "", nil)
}

// renewedTables are the tables of a store that a rebuilt one does not copy.
var renewedTables = []string{"clock", "epochs", "published_files", "schema_version"}

// fill fills the new store.
func (b *rebuild) fill(ctx context.Context) error {
	tables := []string{"tombstones"}
	for _, dataset := range schema.Datasets {
		tables = append(tables, dataset.Name)
	}
	for _, table := range tables {
		if err := b.salvage(ctx, table); err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	if b.complete() { // else the sources bring their rows again, and clients their pushes
		others, err := queryTexts(ctx, b.db, statements.Get("verify/tables"))
		if err != nil {
			return err
		}
		for _, table := range others {
			if slices.Contains(tables, table) || slices.Contains(renewedTables, table) {
				continue
			}
			if err := b.salvage(ctx, table); err != nil {
				return fmt.Errorf("copy %s: %w", table, err)
			}
		}
	}
	if err := b.exec(ctx, statements.Get("repair/keep_newest_tombstones")); err != nil {
		return err
	}
	for _, dataset := range schema.Datasets {
		for _, name := range []string{"repair/keep_newest", "repair/delete_tombstoned", "repair/delete_revived"} {
			if err := b.exec(ctx, statements.For(name, dataset.Name)); err != nil {
				return err
			}
		}
	}
	seq, err := b.seq(ctx)
	if err != nil {
		return err
	}
	for _, dataset := range schema.Datasets {
		files, err := b.publishedFiles(ctx, dataset)
		if err != nil {
			return fmt.Errorf("find published %s: %w", dataset.Name, err)
		}
		for _, file := range files { // before the first insertion, because a row may have moved to another month
			if err := b.removeOlder(ctx, file); err != nil {
				return fmt.Errorf("read published %s: %w", dataset.Name, err)
			}
		}
		for _, file := range files {
			rows, err := b.insertPublished(ctx, file, seq)
			if err != nil {
				return fmt.Errorf("read published %s: %w", dataset.Name, err)
			}
			b.published += rows
			seq += 1 + rows/salvageStep
		}
	}
	if seq, err = b.seq(ctx); err != nil {
		return err
	}
	if err := b.exec(ctx, statements.Fill("repair/update_seq", "seq", strconv.FormatInt(seq, 10))); err != nil {
		return err
	}
	return b.markAll(ctx)
}

func (b *rebuild) exec(ctx context.Context, statement string) error {
	_, err := b.db.ExecContext(ctx, statement)
	return err
}

// seq returns the highest number in the change feed of the new store and, if it can be read, of the old one.
func (b *rebuild) seq(ctx context.Context) (seq int64, err error) {
	if err := b.db.QueryRowContext(ctx, statements.Get("repair/select_seq")).Scan(&seq); err != nil || b.old == "" {
		return seq, err
	}
	var last sql.NullInt64
	err = b.db.QueryRowContext(ctx, "SELECT max(seq) FROM "+b.old+".main.clock").Scan(&last)
	if err != nil && !isDamage(err) {
		return 0, err
	}
	return max(seq, last.Int64), nil
}

// markAll marks every partition as unpublished.
func (b *rebuild) markAll(ctx context.Context) error {
	var names []string
	for _, dataset := range schema.Datasets {
		months := []string{""}
		if dataset.Monthly {
			var err error
			if months, err = queryTexts(ctx, b.db, statements.For("lake/select_months", dataset.Name)); err != nil {
				return err
			}
		}
		for _, month := range months {
			names = append(names, strconv.Quote(partition{dataset: dataset, month: month}.name()))
		}
	}
	return b.exec(ctx, strings.ReplaceAll(statements.Get("lake/mark_stale"), "$keys",
		statements.Text("["+strings.Join(names, ",")+"]")))
}

// salvageStep is the smallest range of rows that is read alone, which is the size of a DuckDB vector.
const salvageStep = 2048

// salvage copies the rows of a table of the old store that can be read.
func (b *rebuild) salvage(ctx context.Context, table string) error {
	if b.old == "" {
		return nil
	}
	var end sql.NullInt64
	source := b.old + ".main." + statements.Ident(table)
	if err := b.db.QueryRowContext(ctx, "SELECT max(rowid) + 1 FROM "+source).Scan(&end); err != nil {
		if isDamage(err) {
			b.lost++ // unknown
			return nil
		}
		return err
	}
	for from := int64(0); from < end.Int64; from += RowGroup {
		if err := b.salvageRange(ctx, table, from, min(from+RowGroup, end.Int64)); err != nil {
			return err
		}
	}
	return nil
}

// salvageRange copies a range of rows, and smaller ranges of it if a part cannot be read.
func (b *rebuild) salvageRange(ctx context.Context, table string, from, to int64) error {
	result, err := b.db.ExecContext(ctx, statements.Fill("repair/salvage", "table", statements.Ident(table),
		"source", b.old, "from", strconv.FormatInt(from, 10), "to", strconv.FormatInt(to, 10)))
	if err == nil {
		rows, err := result.RowsAffected()
		if _, dataset := schema.DatasetNamed(table); dataset == nil {
			b.salvaged += rows
		}
		return err
	}
	if !isDamage(err) {
		return err
	}
	if to-from <= salvageStep {
		b.lost += to - from
		return nil
	}
	half := from + max(salvageStep, (to-from)/2/salvageStep*salvageStep)
	return errors.Join(b.salvageRange(ctx, table, from, half), b.salvageRange(ctx, table, half, to))
}

// A soundFile is a published file of a dataset that is not damaged.
type soundFile struct {
	partition
	path  string
	newer bool // than the old store
}

// removeOlder does nothing unless the file is newer than the old store. Then it removes the rows of the file's
// partition, which come from the old store, and the tombstones of rows of the file.
func (b *rebuild) removeOlder(ctx context.Context, file soundFile) error {
	if !file.newer {
		return nil
	}
	filter, err := file.filter()
	if err != nil {
		return err
	}
	slots := file.dataset.FromPublished([]string{file.path})
	err = b.exec(ctx, statements.Fill("repair/delete_revived_in_file", slots...))
	if err != nil && isDamage(err) {
		return nil // insertPublished counts the file
	}
	if err != nil {
		return err
	}
	slots = append(slots, "where", filter.Literal(file.dataset))
	return b.exec(ctx, statements.Fill("repair/delete_partition", slots...))
}

// insertPublished inserts the rows of a published file that the new store lacks, with numbers behind seq.
func (b *rebuild) insertPublished(ctx context.Context, file soundFile, seq int64) (rows int64, err error) {
	slots := append(file.dataset.FromPublished([]string{file.path}), "seq", strconv.FormatInt(seq, 10))
	result, err := b.db.ExecContext(ctx, statements.Fill("repair/insert_published", slots...))
	if err != nil && isDamage(err) {
		b.lost++ // unknown
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// publishedFiles returns one sound published file of each partition of a dataset, in the order of the months. A file is
// sound if its name in published/ contains the digest of its content. If published/ is lost, the files of the lake are
// used as they are.
func (b *rebuild) publishedFiles(ctx context.Context, dataset schema.Dataset) (sound []soundFile, err error) {
	w := b.r.w
	set, err := newVerifier(w, b.tenant).listPublished(b.tenant)
	if err != nil {
		return nil, err
	}
	names := map[string][]string{} // paths in published/ by month or day
	for path := range set.names {
		if export, rest, _ := strings.Cut(filepath.Base(path), "-"); export == dataset.Name {
			period := ""
			if dataset.Monthly {
				period = periodOf(rest)
			}
			names[period] = append(names[period], path)
		}
	}
	lake := map[string]string{}
	for path := range set.lake {
		if p, ok := partitionOf(w.dir, path); ok && filepath.Base(path) == p.fileName(schema.MustExport(dataset.Name)) {
			period := cmp.Or(p.day, p.month)
			lake[period] = path
			names[period] = slices.Grow(names[period], 0) // a period without names is one, too
		}
	}
	// A month is published either as one file or by day. A crash may have left names of both.
	maps.DeleteFunc(names, func(period string, _ []string) bool {
		inLake := func(other string) bool {
			return strings.HasPrefix(other, monthOfPeriod(period)) && len(other) != len(period)
		}
		return lake[period] == "" && slices.ContainsFunc(slices.Collect(maps.Keys(lake)), inLake)
	})
	known, err := b.manifestNames(ctx)
	if err != nil {
		return nil, err
	}
	for _, period := range slices.Sorted(maps.Keys(names)) {
		candidates := names[period]
		slices.SortFunc(candidates, func(x, y string) int {
			return set.names[y].ModTime().Compare(set.names[x].ModTime()) // newest first
		})
		p := partition{dataset: dataset, month: monthOfPeriod(period)}
		if period != p.month {
			p.day = period
		}
		if path, digest := w.firstSound(lake[period], candidates); path != "" {
			isKnown := slices.ContainsFunc(known, func(name string) bool { return strings.Contains(name, digest) })
			sound = append(sound, soundFile{p, path, b.behind && !isKnown})
		}
	}
	return sound, nil
}

// periodOf returns the day or the month of a published file. rest is its name in published/ without the name of the
// export, and begins with the day or the month.
func periodOf(rest string) string {
	if day, _, ok := strings.Cut(rest[min(len(rest), len("2006-01-")):], "-"); ok && len(day) == len("02") {
		return rest[:len(time.DateOnly)]
	}
	return monthOfPeriod(rest)
}

// monthOfPeriod returns the month of a period.
func monthOfPeriod(period string) string { return period[:min(len(period), len("2006-01"))] }

// manifestNames returns the names of the current files in the manifest of the old store, if it can be read.
func (b *rebuild) manifestNames(ctx context.Context) ([]string, error) {
	if b.old == "" {
		return nil, nil
	}
	names, err := queryTexts(ctx, b.db, "SELECT name FROM "+b.old+".main.published_files WHERE replaced_at IS NULL")
	if err != nil && isDamage(err) {
		return nil, nil
	}
	return names, err
}

// firstSound returns the path of the first sound file and its digest. It first tries the file in the lake, which is the
// current one, and then the files of names in published/. A file is sound if one of the names contains its digest.
// Without names, the file in the lake counts as sound. The path is empty if no file is sound.
func (w *Warehouse) firstSound(lake string, names []string) (path, digest string) {
	for _, path := range append([]string{lake}, names...) {
		if path == "" {
			continue
		}
		digest, err := w.fileDigest(path)
		isNamed := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, digest) })
		if err == nil && (len(names) == 0 || isNamed) {
			return path, digest
		}
	}
	return "", ""
}

// fileDigest returns the beginning of the SHA-256 of a file, in the form that names of published and of quarantine
// files contain.
func (w *Warehouse) fileDigest(path string) (string, error) {
	file, err := w.folder.open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}
