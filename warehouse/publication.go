package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/voicory/warehouse/internal/atomicfile"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A publication writes the stale partitions of a tenant. All of its files get durable together, because most of the
// time of a small publication would be planning of statements and syncs:
//
//  1. Every file is written under a temporary name beside its place in the lake, and read back.
//  2. All files are synced.
//  3. Each file gets its name in published/ by a hard link, and its name in the lake by a rename.
//  4. Every folder with a new name is synced, and every folder above it, because an earlier publication may have been
//     interrupted after it created them.
//  5. The caller records all files in the manifest, in one transaction. Only then are they served.
//
// An error or a crash before the last step leaves the partitions stale, so the next publication writes them again. It
// uses no file of this one: after an error of a sync, the kernel may report success although pages were lost.
type publication struct {
	w     *Warehouse
	store *tenantStore

	mu    sync.Mutex
	temps []string // temporary paths of the files, also of those that could not be completed; guarded by mu
}

// A writtenFile is a file of a publication, or a file that has to be removed because it would have no rows.
type writtenFile struct {
	PublishedFile
	path string // in the lake
	temp string // temporary path beside path; "": no file
}

// publishedOf returns the entries of the manifest for the written files of each month. They are nil for a month that is
// not published.
func (plan *publicationPlan) publishedOf(written [][]*writtenFile) [][]PublishedFile {
	all := make([][]PublishedFile, len(plan.months))
	for i := range all {
		all[i] = []PublishedFile{}
	}
	for i, files := range written {
		month := plan.of[i]
		if files == nil {
			all[month] = nil
			continue
		}
		for _, file := range files {
			all[month] = append(all[month], file.PublishedFile)
		}
	}
	return all
}

// tableRows is the maximum number of rows of the partitions that are published from one temporary table. It is a row
// group of calls, which COPY holds in memory anyway. A larger partition is copied directly, because planning is a small
// part of its time.
const tableRows = parquetCallsRowGroup

// A partitionGroup holds partitions of one dataset that are written together.
type partitionGroup struct {
	dataset    schema.Dataset
	partitions []int // indexes of the stale partitions
	rows       int64
}

// write writes the files of the plan. files[i] are the files of plan.parts[i], or nil if a file of their month could
// not be written. Errors of partitions are joined in failed.
func (p *publication) write(ctx context.Context, plan *publicationPlan) (files [][]*writtenFile, failed error) {
	files = make([][]*writtenFile, len(plan.parts))
	groups := plan.group()
	// A partition has few row groups, so one group at a time would not keep all cores busy.
	var running sync.WaitGroup
	errs := make([]error, len(groups))
	for i, group := range groups {
		running.Go(func() { errs[i] = p.writeThrottled(ctx, plan.parts, group, files) })
	}
	running.Wait()
	for i, written := range files {
		for _, file := range written {
			file.sourceSeq = plan.seqs[i]
		}
	}
	plan.dropIncomplete(files)
	return files, errors.Join(errs...)
}

// dropIncomplete drops the files of months whose files are not all there: some of the days alone would lack rows.
func (plan *publicationPlan) dropIncomplete(files [][]*writtenFile) {
	incomplete := map[int]bool{}
	for i := range files {
		if files[i] == nil {
			incomplete[plan.of[i]] = true
		}
	}
	for i := range files {
		if incomplete[plan.of[i]] {
			files[i] = nil
		}
	}
}

// group returns the groups to write. A month without rows is written as a group of its own, too: its files are removed.
func (plan *publicationPlan) group() (groups []partitionGroup) {
	for i, part := range plan.parts {
		last := len(groups) - 1
		if last < 0 || groups[last].dataset.Name != part.dataset.Name || groups[last].rows+plan.rows[i] > tableRows {
			groups = append(groups, partitionGroup{dataset: part.dataset})
			last++
		}
		groups[last].partitions = append(groups[last].partitions, i)
		groups[last].rows += plan.rows[i]
	}
	return groups
}

// spanOf returns a filter with the bounds of partitions of one dataset, which are ordered.
func spanOf(partitions []partition) (schema.Filter, error) {
	first, err := partitions[0].filter()
	last, err2 := partitions[len(partitions)-1].filter()
	return schema.Filter{From: first.From, Before: last.Before}, errors.Join(err, err2)
}

// writeThrottled writes the files of a group while at most one group per core is being written. If DuckDB runs out of
// memory, it tries again with smaller row groups and without a temporary table, while no other group is written.
func (p *publication) writeThrottled(
	ctx context.Context, partitions []partition, group partitionGroup, files [][]*writtenFile,
) (err error) {
	all := int64(runtime.GOMAXPROCS(0))
	for _, try := range []struct {
		slots    int64
		rowGroup int
		table    bool
	}{{1, parquetRowGroup, len(group.partitions) > 1}, {all, parquetSmallRowGroup, false}} {
		if err := p.w.publishing.Acquire(ctx, try.slots); err != nil {
			return err
		}
		err = p.writeGroup(ctx, partitions, group, files, try.rowGroup, try.table)
		p.w.publishing.Release(try.slots)
		if !errors.Is(err, ErrNoMemory) {
			break
		}
	}
	return err
}

// writeGroup writes the files of a group, from a temporary table with its rows or else directly from the store.
func (p *publication) writeGroup(ctx context.Context, partitions []partition, group partitionGroup,
	files [][]*writtenFile, rowGroup int, table bool,
) (err error) {
	conn, err := p.store.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // returns the connection to its pool
	g := groupWriter{p: p, conn: conn, rowGroup: rowGroup}
	if table {
		defer func() { err = errors.Join(err, g.dropTables(ctx)) }()
		if err := g.createTables(ctx, partitions, group); err != nil {
			return fmt.Errorf("%s: %w", group.dataset.Name, err)
		}
	}
	var errs []error
	for _, i := range group.partitions {
		if err := ctx.Err(); err != nil {
			return err
		}
		written, err := g.writePartition(ctx, partitions[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", group.dataset.Name, cmp.Or(partitions[i].day, partitions[i].month), err))
			continue
		}
		files[i] = written
	}
	return errors.Join(errs...)
}

// A groupWriter writes the files of a group with one connection.
type groupWriter struct {
	p        *publication
	conn     *sql.Conn
	rowGroup int
	tables   map[string]string // temporary table of each export; empty: the store is read
}

// exportsOf returns the export of a dataset, and then those that are derived from it.
func exportsOf(dataset schema.Dataset) (exports []schema.Export) {
	for _, export := range schema.Exports { // each dataset precedes the exports derived from it
		if export.Source.Name == dataset.Name {
			exports = append(exports, export)
		}
	}
	return exports
}

// createTables creates a temporary table for each export of the group's dataset, with the rows of all its partitions.
// Derived exports are computed from the table of the dataset, so all files of a partition have the same calls.
func (g *groupWriter) createTables(ctx context.Context, partitions []partition, group partitionGroup) error {
	g.tables = map[string]string{}
	var stale []partition
	for _, i := range group.partitions {
		stale = append(stale, partitions[i])
	}
	span, err := spanOf(stale)
	if err != nil {
		return err
	}
	condition, err := partitionCondition(span, stale)
	if err != nil {
		return err
	}
	for _, export := range exportsOf(group.dataset) {
		table := "temp.main." + statements.Ident("publish_"+export.Name)
		query := export.SelectWhere(condition)
		if export.Derived() {
			query = export.SelectFrom(g.tables[export.Source.Name])
		}
		if _, err := duckdb.Exec(ctx, g.conn, "CREATE TEMP TABLE "+table+" AS "+query); err != nil {
			return err
		}
		g.tables[export.Name] = table
	}
	return nil
}

// dropTables drops the temporary tables. If it fails, the connection is not used again.
func (g *groupWriter) dropTables(ctx context.Context) error {
	for _, table := range g.tables {
		if _, err := duckdb.Exec(context.WithoutCancel(ctx), g.conn, "DROP TABLE "+table); err != nil {
			return errors.Join(err, g.conn.Raw(func(any) error { return driver.ErrBadConn }))
		}
	}
	return nil
}

// writePartition writes the files of a partition: the dataset's file first, and then the files of the derived exports.
func (g *groupWriter) writePartition(ctx context.Context, part partition) (files []*writtenFile, err error) {
	filter, err := part.filter()
	if err != nil {
		return nil, err
	}
	var source *writtenFile
	for _, export := range exportsOf(part.dataset) {
		file := &writtenFile{path: part.path(g.p.w, g.p.store.id, export),
			PublishedFile: PublishedFile{Export: export.Name, Month: part.month, Day: part.day, AsOf: part.asOf}}
		var query string
		switch table := g.tables[export.Name]; {
		case table != "":
			query = fmt.Sprintf("FROM %s WHERE %s ORDER BY %s", table, export.TimeCondition(filter), export.Order())
		case source == nil:
			query = export.Select(filter)
		case source.temp != "":
			// A derived export is computed from the dataset's file, so that the transcripts are not read from the store a second
			// time.
			query = export.SelectFrom("read_parquet(" + statements.Text(source.temp) + ", hive_partitioning = false)")
		}
		if source != nil {
			file.MinCreatedAt, file.MaxCreatedAt = source.MinCreatedAt, source.MaxCreatedAt
		}
		if err := g.writeFile(ctx, file, query); err != nil {
			return nil, err
		}
		if source == nil {
			source = file
		}
		files = append(files, file)
	}
	return files, nil
}

// writeFile writes the rows of the query to a temporary file, and completes file. If there are no rows, or no query, it
// leaves no file. It writes no bloom filters: DuckDB makes them for columns with few values only, and every row group
// has all of these values.
func (g *groupWriter) writeFile(ctx context.Context, file *writtenFile, query string) (err error) {
	folder, rowGroup := g.p.w.folder, g.rowGroup
	if file.Export == schema.Calls.Name {
		rowGroup = min(rowGroup, parquetCallsRowGroup)
	}
	if err := folder.makeDirs(filepath.Dir(file.path), func(string) error { return nil }); err != nil { // see install
		return err
	}
	if query == "" {
		return nil
	}
	file.temp = g.p.newTemp(file.path)
	export := schema.MustExport(file.Export)
	if file.Rows, err = duckdb.Exec(ctx, g.conn, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, "+
		"WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, KV_METADATA %s%s)",
		query, statements.Text(file.temp), rowGroup, statements.Struct(export.Metadata(file.AsOf)),
		schema.FieldIDs(export.Columns))); err != nil {
		return folder.noteWrite(file.path, err)
	}
	if file.Rows == 0 {
		empty := file.temp
		file.temp = ""
		return folder.removeIfThere(empty)
	}
	changed := 0
	if err := folder.setMode(file.temp, false, &changed); err != nil {
		return err
	}
	return file.inspect(folder, file.temp)
}

// newTemp returns a temporary path beside path.
func (p *publication) newTemp(path string) string {
	temp := atomicfile.TempName(path)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.temps = append(p.temps, temp)
	return temp
}

// removeTemps removes the files that were not installed.
func (p *publication) removeTemps() error {
	var errs []error
	for _, temp := range p.temps {
		errs = append(errs, p.w.folder.removeIfThere(temp))
	}
	return errors.Join(errs...)
}

// install syncs the files and gives them their names. If one file of a month cannot get its name, the files of the
// month become nil. If a sync fails, those of all months do.
func (p *publication) install(plan *publicationPlan, written [][]*writtenFile) error {
	folder := p.w.folder
	err := folder.syncAll(func(yield func(string) bool) {
		for _, file := range slices.Concat(written...) {
			if file.temp != "" && !yield(file.temp) {
				return
			}
		}
	})
	if err != nil {
		clear(written)
		return err
	}
	dirs, errs := map[string]bool{}, []error{p.sweep(plan, written)}
	for i, files := range written {
		for _, file := range files {
			for _, path := range []string{file.path, p.namePath(file)} {
				for dir := filepath.Dir(path); dir != p.w.dir; dir = filepath.Dir(dir) {
					dirs[dir] = true
				}
			}
			if err := p.rename(file); err != nil {
				errs = append(errs, err)
				written[i] = nil
				break
			}
		}
	}
	plan.dropIncomplete(written)
	if err := folder.syncAll(maps.Keys(dirs)); err != nil {
		clear(written)
		return err
	}
	return errors.Join(errs...)
}

// sweep removes files that are not in the layout of the written months any more: those of the other layout, and those
// that a crash has left. It removes them before the new ones get their names. So a reader of the lake may miss rows
// meanwhile, but never finds one twice. A month that cannot be swept is not published.
func (p *publication) sweep(plan *publicationPlan, written [][]*writtenFile) error {
	keep, dirs := map[string]bool{}, map[string]int{} // dirs has the month of each folder
	for i, files := range written {
		for _, file := range files {
			if month := plan.months[plan.of[i]]; month.month != "" {
				keep[file.path] = file.temp != ""
				dirs[filepath.Dir(file.path)] = plan.of[i]
			}
		}
	}
	var errs []error
	for dir, month := range dirs {
		for day := range plan.kept[month] {
			part := plan.months[month]
			part.day = day
			for _, export := range exportsOf(part.dataset) {
				keep[part.path(p.w, p.store.id, export)] = true
			}
		}
		if err := p.sweepFolder(dir, keep); err != nil {
			errs = append(errs, err)
			for i := range written {
				if plan.of[i] == month {
					written[i] = nil
				}
			}
		}
	}
	return errors.Join(errs...)
}

// sweepFolder removes the Parquet files of a folder that are not in keep.
func (p *publication) sweepFolder(dir string, keep map[string]bool) error {
	entries, err := p.w.folder.readDir(dir)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if err == nil && !keep[path] && filepath.Ext(path) == ".parquet" && entry.Type().IsRegular() {
			err = p.w.folder.removeIfThere(path)
		}
	}
	return err
}

// namePath returns the path of the file in published/.
func (p *publication) namePath(file *writtenFile) string {
	return filepath.Join(p.w.filesPath(p.store.id), file.Name)
}

// rename gives a file its two names, or removes the name in the lake if it has no rows.
func (p *publication) rename(file *writtenFile) error {
	folder := p.w.folder
	if file.temp == "" {
		return folder.removeIfThere(file.path)
	}
	if err := folder.link(file.temp, p.namePath(file)); err != nil {
		return err
	}
	return folder.rename(file.temp, file.path)
}
