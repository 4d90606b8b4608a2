package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Quarantine lists refused rows and files, the oldest files' first, up to limit.
func (w *Warehouse) Quarantine(ctx context.Context, limit int64) ([]Refusal, error) {
	refusals := []Refusal{}
	infos, err := w.quarantined()
	if err != nil || len(infos) == 0 {
		return refusals, err
	}
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Name()
	}
	query, err := w.refusedRowsQuery(names...)
	if err != nil {
		return nil, fmt.Errorf("read the quarantine: %w", err)
	}
	rows, err := w.loader.QueryContext(ctx, statements.Fill("quarantine/list", "rows", query, "limit", strconv.FormatInt(limit, 10)))
	if err != nil {
		return nil, fmt.Errorf("read the quarantine: %w", unreadable(err))
	}
	defer rows.Close()
	for rows.Next() {
		var r Refusal
		if err := rows.Scan(&r.Name, &r.File, &r.Line, &r.Dataset, &r.Tenant, &r.Reason, &r.Row); err != nil {
			return nil, fmt.Errorf("read the quarantine: %w", err)
		}
		refusals = append(refusals, r)
	}
	return refusals, rows.Err()
}

// leastObject is what DuckDB may hold of a line of the quarantine, where all are shorter.
const minObjectSize = 1 << 20

// refusedRows is the query of what files of the quarantine hold.
func (w *Warehouse) refusedRowsQuery(names ...string) (string, error) {
	paths, longest := make([]string, len(names)), int64(minObjectSize)
	for i, name := range names {
		path := filepath.Join(w.dir, quarantineDir, name)
		_, line, err := w.measureLines(path)
		if err != nil {
			return "", err
		}
		paths[i], longest = statements.Text(path), max(longest, line)
	}
	return statements.Fill("quarantine/rows", "files", "["+strings.Join(paths, ", ")+"]", "longest", strconv.FormatInt(longest, 10)), nil
}

// Replay takes refused rows in again: those of the named files of the quarantine, of all where none is named. What is taken in
// now leaves the quarantine; what is refused again stays, for the reason it has now. Rows that are older than what has come since do not
// replace it, those among them that name no time of their own.
func (w *Warehouse) Replay(ctx context.Context, names ...string) (total Counts, refusals []Refusal, err error) {
	w.refused.replaying.Lock()
	defer w.refused.replaying.Unlock()
	infos, err := w.quarantined()
	if err != nil {
		return total, nil, fmt.Errorf("replay: %w", err)
	}
	known := make([]string, len(infos))
	for i, info := range infos {
		known[i] = info.Name()
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return total, nil, fmt.Errorf("%w: the quarantine has no file %q; `voicory quarantine list` shows them", ErrNotFound, name)
		}
	}
	if len(names) == 0 {
		names = known
		slices.SortStableFunc(names, func(a, b string) int { // what a crash has left comes first, and is not met again
			return strings.Compare(filepath.Ext(b), filepath.Ext(a))
		})
	}
	for _, name := range names {
		counts, refused, err := w.replayFile(ctx, name)
		total.Add(counts)
		refusals = append(refusals, refused[:min(len(refused), maxRefusals-min(maxRefusals, len(refusals)))]...)
		if err != nil {
			return total, refusals, fmt.Errorf("replay %s: %w", name, w.diagnose(err))
		}
	}
	return total, refusals, nil
}

// replayFile sets the file aside, so that what is refused again can have its name, and removes it once its rows are durable.
func (w *Warehouse) replayFile(ctx context.Context, name string) (total Counts, refusals []Refusal, err error) {
	groups, err := w.refusedGroups(ctx, name)
	if err != nil || len(groups) == 0 {
		return total, nil, err
	}
	aside := strings.TrimSuffix(name, replayingSuffix) + replayingSuffix
	path := filepath.Join(w.dir, quarantineDir, aside)
	if aside != name {
		left, err := w.folder.exists(path)
		if err != nil {
			return total, refusals, err
		}
		if left { // by a crash: it is taken in first
			if total, refusals, err = w.replayFile(ctx, aside); err != nil {
				return total, refusals, err
			}
		}
		if err := errors.Join(w.folder.rename(w.folder.join(filepath.Join(quarantineDir, name)), path), w.folder.sync(filepath.Dir(path))); err != nil {
			return total, refusals, err
		}
	}
	for _, group := range groups {
		group.name = aside
		counts, refused, err := w.Merge(ctx, Batch{Dataset: group.dataset, Tenant: group.tenant, Origin: group.origin, Rows: group, FromQuarantine: true, NoLineNumbers: group.unnumbered})
		total.Add(counts)
		refusals = append(refusals, refused...)
		if err != nil {
			return total, refusals, err
		}
	}
	return total, refusals, w.folder.removeDurable(path)
}

// refusedGroup are rows of one file of the quarantine that can be taken in at once.
type refusedGroup struct {
	w          *Warehouse
	name       string // of the file
	dataset    Dataset
	tenant     uuid.UUID // zero: the rows say it
	origin     string
	unnumbered bool
}

func (w *Warehouse) refusedGroups(ctx context.Context, name string) (groups []refusedGroup, err error) {
	query, err := w.refusedRowsQuery(name)
	if err != nil {
		return nil, err
	}
	rows, err := w.loader.QueryContext(ctx, statements.Fill("quarantine/groups", "rows", query))
	if err != nil {
		return nil, unreadable(err)
	}
	defer rows.Close()
	for rows.Next() {
		group := refusedGroup{w: w, name: name}
		var dataset, tenant string
		if err := rows.Scan(&dataset, &tenant, &group.origin, &group.unnumbered); err != nil {
			return nil, err
		}
		if group.dataset, err = DatasetNamed(dataset); err != nil {
			return nil, err
		}
		if tenant != "" {
			if group.tenant, err = uuid.Parse(tenant); err != nil {
				return nil, fmt.Errorf("%w: tenant_id %q is not a UUID", ErrInvalid, tenant)
			}
		}
		groups = append(groups, group)
	}
	return groups, rows.Err()
}

func (g refusedGroup) open(_ context.Context, _ *sql.Conn, dataset Dataset) (string, func(), error) {
	tenant := ""
	if g.tenant != uuid.Nil {
		tenant = g.tenant.String()
	}
	query, err := g.w.refusedRowsQuery(g.name)
	if err != nil {
		return "", nil, err
	}
	lines := statements.Fill("quarantine/lines", "rows", query, "dataset", statements.Text(dataset.Name), "tenant", statements.Text(tenant), "file", statements.Text(g.origin))
	return dataset.looseLines(lines), func() {}, nil
}

func (refusedGroup) finish(context.Context, *sql.Conn) error { return nil }
