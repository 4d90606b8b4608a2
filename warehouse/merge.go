package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Batch is a bounded portion of rows of one dataset on their way in.
type Batch struct {
	Dataset        Dataset
	Tenant         uuid.UUID // whose rows these are; zero: each row names its tenant in user_id
	Origin         string    // where the rows come from (a file's name), for the quarantine
	Rows           Rows
	MissingFields  []string // fields that none of these rows can have: what is kept of them stays
	NoLineNumbers  bool     // the rows come from a source that gives them again and again: lines have no meaning to anybody
	FromQuarantine bool     // the rows waited in the quarantine: one that names no time of its own is older than what is kept
	Throttled      bool     // staged only while few others of this kind are; its rows must be at hand, so that nobody waits for their source
}

// Counts says what became of rows. Read is the sum of the others but Dropped.
type Counts struct {
	Read       int64 `json:"read"`
	New        int64 `json:"new"`
	Changed    int64 `json:"changed"`
	Unchanged  int64 `json:"unchanged"`
	Deleted    int64 `json:"deleted"`    // by their source, whether or not they were here
	Superseded int64 `json:"superseded"` // older than the version that is kept
	Refused    int64 `json:"refused"`    // put into quarantine
	Dropped    int64 `json:"dropped"`    // from the quarantine, which was full: refused rows that nobody can look at any more
}

// Add sums.
func (c *Counts) Add(other Counts) {
	c.Read += other.Read
	c.New += other.New
	c.Changed += other.Changed
	c.Unchanged += other.Unchanged
	c.Deleted += other.Deleted
	c.Superseded += other.Superseded
	c.Refused += other.Refused
	c.Dropped += other.Dropped
}

// Merge takes a batch in: Stage, then Staged.Merge.
func (w *Warehouse) Merge(ctx context.Context, batch Batch) (Counts, []Refusal, error) {
	staged, err := w.Stage(ctx, batch)
	if err != nil {
		return Counts{}, nil, err
	}
	return staged.Merge(ctx)
}

// Staged is a batch whose rows are typed and not merged yet. It ends with Merge or with Close.
type Staged struct {
	w           *Warehouse
	conn        *sql.Conn // stands in the schema
	schema      string    // in memory, of this batch alone; its table staged holds the rows
	batch       Batch
	tenants     []stagedTenant
	unknown     []UnknownField
	state       *State // nil: none
	releaseSlot func() // ends its turn
}

// Unknown lists fields of the rows that the dataset has not, some of them where they are many: their values are not kept.
func (s *Staged) Unknown() []UnknownField { return s.unknown }

// Refused is how many of the rows will not be taken in.
func (s *Staged) Refused() (refused int64) {
	for _, t := range s.tenants {
		refused += t.refused
	}
	return refused
}

// rows is how many there are, of all tenants.
func (s *Staged) rows() (rows int64) {
	for _, t := range s.tenants {
		rows += t.rows
	}
	return rows
}

// numbers is how many a commit of theirs takes: one, and one more for every 2,048 rows. DuckDB reads as many at once, so that a page of the
// feed, which has rows of few numbers, is read from one place of the table.
func (s *Staged) seqCount() int64 { return 1 + s.rows()/2048 }

// Note has Merge keep how far a source is once these rows are merged: where they are one tenant's, in one transaction with them.
func (s *Staged) SetState(state State) { s.state = &state }

// Stage types each row of a batch, and finds those to refuse. Nothing is kept of it yet, and it keeps no other batch from
// being merged meanwhile.
func (w *Warehouse) Stage(ctx context.Context, batch Batch) (*Staged, error) {
	leave, err := w.acquireSlot(ctx, batch)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	conn, err := w.loader.Conn(ctx)
	if err != nil {
		leave()
		return nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	s := &Staged{w: w, conn: conn, schema: statements.Ident("batch " + uuid.NewString()), batch: batch, releaseSlot: leave}
	if err = s.createSchema(ctx); err == nil {
		s.tenants, err = batch.stage(ctx, conn)
	}
	if err != nil {
		return nil, errors.Join(w.diagnose(fmt.Errorf("read %s: %w", batch.Origin, err)), s.Close())
	}
	for _, t := range s.tenants {
		s.unknown = addUnknown(s.unknown, batch.Dataset, t.unknown)
	}
	w.unknown.add(s.unknown)
	return s, nil
}

// maxStaged is how many batches of those that take turns are in DuckDB's memory at a time: of one load, one is merged while
// the next is staged.
const maxStaged = 2

// turn waits for the batch's turn, where it takes one; leave ends it. A file may take all the memory there is.
func (w *Warehouse) acquireSlot(ctx context.Context, batch Batch) (leave func(), err error) {
	if !batch.Throttled {
		return func() {}, nil
	}
	places := int64(maxStaged)
	if _, bounded := batch.Rows.(Lines); bounded {
		places = 1
	}
	if err := w.staging.Acquire(ctx, places); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { w.staging.Release(places) }), nil
}

// open makes the schema. Its table is no temporary one, which only one connection would see.
func (s *Staged) createSchema(ctx context.Context) error {
	registering.Lock()
	defer registering.Unlock()
	if _, err := s.conn.ExecContext(ctx, "CREATE SCHEMA memory."+s.schema); err != nil {
		return err
	}
	_, err := s.conn.ExecContext(ctx, setSearchPath("memory."+s.schema, "memory.main"))
	return err
}

// standIn is the statement that has a connection look names up in these schemas.
func setSearchPath(schemas ...string) string {
	return "SET search_path = " + statements.Text(strings.Join(schemas, ","))
}

// Close lets the rows go, and the connection, with its transaction where that was left open.
func (s *Staged) Close() error {
	defer s.releaseSlot()
	err := discard(s.conn)
	if errors.Is(err, sql.ErrConnDone) {
		return nil // closed before
	}
	registering.Lock()
	defer registering.Unlock()
	_, dropped := s.w.loader.ExecContext(context.Background(), "DROP SCHEMA IF EXISTS memory."+s.schema+" CASCADE")
	return errors.Join(err, dropped)
}

// Merge puts refused rows into the quarantine, and merges every tenant's rows into its file in one transaction, which also
// marks what the lake must be told of. When it returns, what it counts is durable. Merging the same batch again changes
// nothing, so after an error or a crash the batch is simply given again.
func (s *Staged) Merge(ctx context.Context) (counts Counts, refusals []Refusal, err error) {
	defer func() { err = errors.Join(s.w.diagnose(err), s.Close()) }()
	counts.Read, counts.Refused = s.rows(), s.Refused()
	if counts.Refused > 0 {
		if refusals, counts.Dropped, err = s.w.quarantine(ctx, s.conn, s.batch, counts.Refused); err != nil {
			return counts, nil, err
		}
	}
	merged, err := s.mergeTenants(ctx)
	counts.Add(merged)
	if err == nil && s.state != nil && !s.stateSaved() {
		err = s.w.SaveState(ctx, s.batch.Tenant, *s.state)
	}
	return counts, refusals, err
}

// noted tells whether the merge of the batch's one tenant has noted the state with its rows.
func (s *Staged) stateSaved() bool {
	return s.batch.Tenant != uuid.Nil && slices.ContainsFunc(s.tenants, stagedTenant.hasRows)
}

// discard closes a connection for good: with its temporary tables, and with its transaction where that was left open.
func discard(conn *sql.Conn) error {
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return nil
}

// stagedTenant says how many of the staged rows are a tenant's; without an id they are nobody's, and refused.
type stagedTenant struct {
	id            uuid.NullUUID
	rows, refused int64
	hasDuplicates bool     // an id may be among them more than once
	unknown       []string // fields that the dataset has not

	// Of those that are not refused:
	deletions   int64
	months      string // YYYY-MM, with commas between them
	first, last sql.NullTime
}

// hasRows tells whether not all of its rows are refused.
func (t stagedTenant) hasRows() bool { return t.rows > t.refused }

// stage types the batch's rows into the table staged, and writes to the refused ones why.
func (b Batch) stage(ctx context.Context, conn *sql.Conn) ([]stagedTenant, error) {
	loose, release, err := b.Rows.open(ctx, conn, b.Dataset)
	if err != nil {
		return nil, unreadable(err)
	}
	defer release()
	tenant := "NULL::UUID"
	if b.Tenant != uuid.Nil {
		tenant = statements.Text(b.Tenant.String()) + "::UUID" // a parameter would have the statement planned twice
	}
	typing, reasons := b.Dataset.staging(loose, tenant)
	if _, err := execute(ctx, conn, typing); err != nil {
		return nil, unreadable(err)
	}
	if err := b.Rows.finish(ctx, conn); err != nil {
		return nil, unreadable(err)
	}
	rows, err := conn.QueryContext(ctx, statements.Fill("merge/tenants", "most", strconv.Itoa(maxUnknown)))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tenants []stagedTenant
	var refused int64
	for rows.Next() {
		var t stagedTenant
		var unknown, months sql.NullString
		if err := rows.Scan(&t.id, &t.rows, &t.refused, &t.hasDuplicates, &unknown, &t.deletions, &months, &t.first, &t.last); err != nil {
			return nil, err
		}
		t.months = months.String
		if unknown.Valid {
			if err := json.Unmarshal([]byte(unknown.String), &t.unknown); err != nil {
				return nil, err
			}
		}
		tenants = append(tenants, t)
		refused += t.refused
	}
	if err := rows.Err(); err != nil || refused == 0 {
		return tenants, err
	}
	_, err = conn.ExecContext(ctx, reasons)
	return tenants, err
}

// unreadable marks what DuckDB says of a file that is not what it should be.
func unreadable(err error) error {
	var failure *duckdb.Error
	if errors.As(err, &failure) && (failure.Type == duckdb.ErrorTypeInvalidInput || failure.Type == duckdb.ErrorTypeConversion ||
		failure.Type == duckdb.ErrorTypeIO || failure.Type == duckdb.ErrorTypeInvalid || failure.Type == duckdb.ErrorTypeBinder) {
		first, _, _ := strings.Cut(failure.Msg, "\n") // the rest is advice on DuckDB's options
		return fmt.Errorf("%w: %s", ErrUnreadable, first)
	}
	return err
}
