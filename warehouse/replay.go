package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Quarantine yields refused rows and files, those of the oldest quarantine file first, and ends after an error. It
// holds one row at a time in memory.
func (w *Warehouse) Quarantine(ctx context.Context) iter.Seq2[Refusal, error] {
	return func(yield func(Refusal, error) bool) {
		infos, err := w.quarantined()
		if err != nil {
			yield(Refusal{}, fmt.Errorf("read the quarantine: %w", err))
			return
		}
		for _, info := range infos {
			for refusal, err := range w.refusalsOf(ctx, info.Name()) {
				if err != nil {
					yield(Refusal{}, fmt.Errorf("read the quarantine: %s: %w", info.Name(), err))
					return
				}
				if !yield(refusal, nil) {
					return
				}
			}
		}
	}
}

// refusalsOf yields the refusals of a quarantine file. It yields none if a concurrent replay has removed the file.
func (w *Warehouse) refusalsOf(ctx context.Context, name string) iter.Seq2[Refusal, error] {
	return func(yield func(Refusal, error) bool) {
		file, err := w.folder.open(w.folder.join(filepath.Join(quarantineDir, name)))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Refusal{}, err)
			return
		}
		defer file.Close()
		for lines := json.NewDecoder(file); ; {
			var refusal storedRefusal
			err := lines.Decode(&refusal)
			refusal.Name = name
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("%w: %w", ErrUnreadable, err)
			} else if err = ctx.Err(); err == nil {
				err = refusal.readRow()
			}
			if !yield(refusal.Refusal, err) || err != nil {
				return
			}
		}
	}
}

// A storedRefusal is a line of a quarantine file. Its row is the original text as a JSON string. An operator who
// corrects the row may also write it as an object.
type storedRefusal struct {
	Refusal
	Row json.RawMessage `json:"row"`
}

// readRow sets the row of the refusal to the text.
func (s *storedRefusal) readRow() error {
	s.Refusal.Row = string(s.Row)
	switch {
	case s.Refusal.Row == "null":
		s.Refusal.Row = ""
	case strings.HasPrefix(s.Refusal.Row, `"`):
		return json.Unmarshal(s.Row, &s.Refusal.Row)
	}
	return nil
}

// minObjectSize is the least size in bytes that DuckDB accepts for a line of the quarantine.
const minObjectSize = 1 << 20

// refusedRowsQuery returns a query that selects the refused rows of files of the quarantine.
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
	return statements.Fill("quarantine/rows", "files", "["+strings.Join(paths, ", ")+"]",
		"longest", strconv.FormatInt(longest, 10)), nil
}

// Replay merges the refused rows of the named quarantine files, or of all files if there are no names. Rows that are
// merged leave the quarantine; rows that are refused again stay, with the new reason. A row does not replace a newer
// version. A row without a time of its own counts as older than every existing version.
func (w *Warehouse) Replay(ctx context.Context, names ...string) (total schema.Counts, refusals []Refusal, err error) {
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
			return total, nil, fmt.Errorf(
				"%w: no quarantine file %q; `voicory quarantine list` shows them", ErrNotFound, name)
		}
	}
	if len(names) == 0 {
		names = known
		// Files that a crash left set aside come first, so that they are not replayed again with their original.
		slices.SortStableFunc(names, func(a, b string) int {
			return strings.Compare(filepath.Ext(b), filepath.Ext(a))
		})
	}
	for _, name := range names {
		counts, refused, err := w.replayFile(ctx, name)
		total.Add(counts)
		refusals = append(refusals, refused[:min(len(refused), maxRefusals-min(maxRefusals, len(refusals)))]...)
		if err != nil {
			return total, refusals, fmt.Errorf("replay %s: %w", name, err)
		}
	}
	return total, refusals, nil
}

// replayFile renames the file, so that rows that are refused again can be stored under its name, merges its rows, and
// removes the file once they are durable.
func (w *Warehouse) replayFile(ctx context.Context, name string) (total schema.Counts, refusals []Refusal, err error) {
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
		if left { // by a crash: replay it first
			if total, refusals, err = w.replayFile(ctx, aside); err != nil {
				return total, refusals, err
			}
		}
		renamed := w.folder.rename(w.folder.join(filepath.Join(quarantineDir, name)), path)
		if err := errors.Join(renamed, w.folder.sync(filepath.Dir(path))); err != nil {
			return total, refusals, err
		}
	}
	for _, group := range groups {
		group.name = aside
		counts, refused, err := w.Merge(ctx, Batch{
			Dataset: group.dataset, Tenant: group.tenant, Origin: group.origin, Rows: group,
			FromQuarantine: true, NoLineNumbers: group.unnumbered,
		})
		total.Add(counts)
		refusals = append(refusals, refused...)
		if err != nil {
			return total, refusals, err
		}
	}
	return total, refusals, w.folder.removeDurable(path)
}

// A refusedGroup is a set of rows of a quarantine file that form one batch.
type refusedGroup struct {
	w          *Warehouse
	name       string // name of the quarantine file
	dataset    schema.Dataset
	tenant     uuid.UUID // zero: each row names its tenant
	origin     string    // Batch.Origin of the original batch
	unnumbered bool      // Batch.NoLineNumbers of the original batch
}

// refusedGroups returns the groups of the rows of a quarantine file.
func (w *Warehouse) refusedGroups(ctx context.Context, name string) (groups []refusedGroup, err error) {
	query, err := w.refusedRowsQuery(name)
	if err != nil {
		return nil, err
	}
	rows, err := w.loader.QueryContext(ctx, statements.Fill("quarantine/groups", "rows", query))
	if err != nil {
		return nil, inputError(err)
	}
	defer rows.Close()
	for rows.Next() {
		group := refusedGroup{w: w, name: name}
		var dataset, tenant string
		if err := rows.Scan(&dataset, &tenant, &group.origin, &group.unnumbered); err != nil {
			return nil, err
		}
		if group.dataset, err = schema.DatasetNamed(dataset); err != nil {
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

func (g refusedGroup) open(
	_ context.Context, _ *Warehouse, _ *sql.Conn, dataset schema.Dataset,
) (string, func(), error) {
	tenant := ""
	if g.tenant != uuid.Nil {
		tenant = g.tenant.String()
	}
	query, err := g.w.refusedRowsQuery(g.name)
	if err != nil {
		return "", nil, err
	}
	lines := statements.Fill("quarantine/lines", "rows", query, "dataset", statements.Text(dataset.Name),
		"tenant", statements.Text(tenant), "file", statements.Text(g.origin))
	return dataset.UntypedLines(lines), func() {}, nil
}

func (refusedGroup) finish(context.Context, *sql.Conn) error { return nil }
