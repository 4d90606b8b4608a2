package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Batch is a bounded number of rows of one dataset to be merged.
type Batch struct {
	Dataset schema.Dataset
	Tenant  uuid.UUID // tenant of all rows; zero: each row names its tenant in user_id
	Origin  string    // name of the file or source of the rows, recorded in the quarantine
	Rows    Rows
	// MissingFields are fields that the source of these rows never provides. Merging keeps their existing values.
	MissingFields []string
	// NoLineNumbers means that line numbers do not identify the rows, because the source generates them.
	NoLineNumbers bool
	// FromQuarantine means that the rows were refused earlier. A row without a time of its own then counts as older than
	// every existing version of it.
	FromQuarantine bool
	// Inferred means that the deletions of the batch were inferred: their source did not show the rows. Such a deletion
	// yields to every row of the same id that is merged later, whatever its time, while an explicit one yields to newer
	// rows only.
	Inferred bool
	// MovedBefore is set if the source names the one owner of each row. A row that was created before this time, and that
	// its tenant does not have yet, is then removed from all other tenants.
	MovedBefore time.Time
	// Throttled limits how many such batches are staged at the same time. The rows must already be buffered, so that a
	// slow client cannot hold a slot.
	Throttled bool
}

// Merge stages a batch and merges it. See [Warehouse.Stage] and [Staged.Merge].
func (w *Warehouse) Merge(ctx context.Context, batch Batch) (schema.Counts, []Refusal, error) {
	staged, err := w.Stage(ctx, batch)
	if err != nil {
		return schema.Counts{}, nil, err
	}
	return staged.Merge(ctx)
}

// A Staged batch has typed rows that are not merged yet. Merge and Close release its resources.
type Staged struct {
	w           *Warehouse
	reasons     map[string]int64 // see Reasons
	slot        *stagingSlot     // its table staged holds the typed rows
	whole       bool             // no statement on the slot has failed
	closed      bool
	batch       Batch
	tenants     []stagedTenant
	firstRow    int64 // lowest row number of the table staged
	unknown     []UnknownField
	origins     []Origin
	notes       []FieldNote
	state       *State // to store with the rows; nil: none
	releaseSlot func()
}

// Unknown returns fields of the rows that the dataset does not have, at most maxUnknown. Their values are not stored.
func (s *Staged) Unknown() []UnknownField { return s.unknown }

// Notes returns the fields whose values were not stored as they were, in rows that are not refused.
func (s *Staged) Notes() []FieldNote { return s.notes }

// Refused returns the number of rows that were refused.
func (s *Staged) Refused() (refused int64) {
	for _, t := range s.tenants {
		refused += t.refused
	}
	return refused
}

// Tenants returns the tenants that have rows to merge.
func (s *Staged) Tenants() (tenants []uuid.UUID) {
	for _, t := range s.tenants {
		if t.hasRows() {
			tenants = append(tenants, t.id.UUID)
		}
	}
	return tenants
}

// rows returns the number of rows of all tenants.
func (s *Staged) rows() (rows int64) {
	for _, t := range s.tenants {
		rows += t.rows
	}
	return rows
}

// seqCount returns how many sequence numbers a commit of the batch uses: one per 2,048 rows, the size of a DuckDB
// vector. A page of the change feed covers few sequence numbers, so its rows lie close together in the table.
func (s *Staged) seqCount() int64 { return 1 + s.rows()/2048 }

// SetState makes Merge store the state of the source after the rows are merged. If the batch has one tenant, Merge
// stores it in the same transaction.
func (s *Staged) SetState(state State) { s.state = &state }

// An Origin is a file of a batch. Its rows are those whose line is greater than Before, up to the next origin.
type Origin struct {
	Name   string // recorded in the quarantine, as is the number of the line after Before
	Before int64
	Header string // header line of a CSV file, which its lines need to be read alone
}

// SetOrigins sets the files of the batch in the order of their rows. By default, Batch.Origin has all rows.
func (s *Staged) SetOrigins(origins []Origin) { s.origins = origins }

// Stage types each row of a batch and finds the rows to refuse. It writes nothing to disk and holds no lock of a
// tenant, so other batches are merged at the same time. If the input is malformed as a whole, it returns
// ErrUnreadable.
func (w *Warehouse) Stage(ctx context.Context, batch Batch) (*Staged, error) {
	if err := w.CheckDeleted(batch.Tenant); err != nil {
		return nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	release, err := w.acquireSlot(ctx, batch)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	slot, err := w.stagingSlot(ctx, batch.Dataset)
	if err != nil {
		release()
		return nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	s := &Staged{w: w, slot: slot, batch: batch, releaseSlot: release}
	if err = s.stage(ctx); err == nil {
		err = s.refuseDeleted(ctx)
	}
	if err != nil {
		// The reader of the rows may have spooled them to the disk.
		return nil, errors.Join(fmt.Errorf("read %s: %w", batch.Origin, diskError(w.dir, err)), s.Close())
	}
	if err = s.keepLagging(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", batch.Origin, err), s.Close())
	}
	for _, t := range s.tenants {
		s.unknown = addUnknown(s.unknown, batch.Dataset, t.unknown)
	}
	w.unknown.add(s.unknown)
	s.whole = true
	return s, nil
}

// stagingTimeout bounds the time that typing a throttled batch may take, because it holds a slot that batches of other
// tenants wait for. A batch takes about a second. Tests change it.
var stagingTimeout = 2 * time.Minute

// stage types the rows of the batch into its slot.
func (s *Staged) stage(ctx context.Context) (err error) {
	limited := ctx
	if s.batch.Throttled {
		var cancel func()
		limited, cancel = context.WithTimeout(ctx, stagingTimeout)
		defer cancel()
	}
	err = inputError(s.typeRows(limited))
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: its rows take more than %s to be typed", ErrUnreadable, stagingTimeout)
	}
	return err
}

// maxStaged is the number of slots for throttled batches. A load uses two: it merges one batch while it stages the
// next.
const maxStaged = 2

// acquireSlot waits for a slot if the batch is throttled.
func (w *Warehouse) acquireSlot(ctx context.Context, batch Batch) (release func(), err error) {
	if !batch.Throttled {
		return func() {}, nil
	}
	if err := w.staging.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { w.staging.Release(1) }), nil
}

// Close drops the staged rows and releases the slots. Calling it again has no effect.
func (s *Staged) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.releaseSlot()
	if s.whole && s.firstRow+s.rows() <= maxReusedRows {
		return s.w.reuseSlot(s.slot)
	}
	return s.w.discardSlot(s.slot)
}

// Merge stores refused rows in the quarantine and merges the other rows into the files of their tenants. It commits
// one transaction per tenant, which also marks the published partitions that became stale. When it returns, all
// counted rows are durable. Merging the same batch again changes nothing, so the caller retries the batch after an
// error or a crash.
func (s *Staged) Merge(ctx context.Context) (counts schema.Counts, refusals []Refusal, err error) {
	defer func() {
		s.whole = s.whole && err == nil
		err = errors.Join(err, s.Close())
	}()
	counts.Read, counts.Refused = s.rows(), s.Refused()
	if counts.Refused > 0 {
		if refusals, counts.Erased, counts.Dropped, err = s.quarantine(ctx); err != nil {
			return counts, nil, err
		}
		counts.Refused -= counts.Erased
		refusals = append(refusals, s.deletedRefusals()...)
	}
	if err = s.removeMoved(ctx); err != nil {
		return counts, refusals, fmt.Errorf("remove %s from their former tenants: %w", s.batch.Dataset.Name, err)
	}
	merged, err := s.mergeTenants(ctx)
	counts.Add(merged)
	if err == nil && s.state != nil && !s.stateSaved() {
		err = s.w.SaveState(ctx, s.batch.Tenant, *s.state)
	}
	return counts, refusals, err
}

// stateSaved reports whether the state was stored in the transaction that merged the rows of the batch's one tenant.
func (s *Staged) stateSaved() bool {
	return s.batch.Tenant != uuid.Nil && slices.ContainsFunc(s.tenants, stagedTenant.hasRows)
}

// discard closes a connection instead of returning it to the pool. This drops its temporary tables and rolls back an
// open transaction.
func discard(conn *sql.Conn) error {
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return nil
}

// typeRows writes the typed rows of the batch to the table staged, with the reason for each refused row. It sets the
// summaries of the tenants, and the notes on the rows that are not refused.
func (s *Staged) typeRows(ctx context.Context) error {
	conn := s.slot.conn
	lines, release, err := s.batch.Rows.open(ctx, s.slot, s.batch.Tenant)
	if err != nil {
		return err
	}
	defer release()
	staging := s.batch.Dataset.Staging(lines)
	if lines == s.slot.source.Relation {
		_, err = s.slot.typing.Exec(ctx, conn)
	} else {
		_, err = duckdb.Exec(ctx, conn, "INSERT INTO staged "+staging.Typing)
	}
	if err == nil {
		err = s.batch.Rows.err()
	}
	if err != nil {
		return err
	}
	// A suspicious row counts as refused until its reasons are known.
	if err := s.summarize(ctx); err != nil || s.Refused() == 0 {
		return err
	}
	for _, statement := range []string{staging.Suspects, staging.Reasons} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if s.notes, err = fieldNotes(ctx, conn, s.batch.Dataset, staging.Notes); err != nil {
		return err
	}
	for _, statement := range []string{staging.Accept, "DROP TABLE suspects"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return s.summarize(ctx)
}

// inputError wraps an error of DuckDB in ErrUnreadable, unless its cause is outside of the input: the memory, the disk,
// an interrupt, or an instance that has failed as a whole. Typing a batch reads nothing but its rows, so every other
// error is one of the rows.
func inputError(err error) error {
	reason, ok := duckdb.StatementFault(err)
	if !ok {
		return err
	}
	return fmt.Errorf("%w: %s", ErrUnreadable, reason)
}
