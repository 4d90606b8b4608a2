package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A stagingSlot is a place to stage a batch of one dataset: a database in memory with the table staged, and a
// connection with this database in its search path. The slots of small batches are used again. It takes longer to
// create their database and table, and to plan the statement that types the rows, than to stage a few rows.
type stagingSlot struct {
	dataset  schema.Dataset
	database string             // name of the database
	source   *duckdb.LineSource // of the lines of the current batch
	conn     *sql.Conn
	typing   *duckdb.Prepared // inserts the typed lines of the source into staged
}

// stagingSlots are the slots that no batch uses. Statements read the tables of a slot from several connections, but the
// slot belongs to one batch.
type stagingSlots struct {
	mu        sync.Mutex
	last      int64                     // number of the newest slot; guarded by mu
	free      map[string][]*stagingSlot // by dataset; guarded by mu
	templates map[string]bool           // datasets whose empty table staged exists; guarded by mu
}

// maxReusedRows is the number of rows up to which a slot is used again: those of the last batch, and deleted rows of
// earlier batches that are still in the table. The memory of a slot with more rows is given back as a whole.
const maxReusedRows = 4096

// maxFreeSlots is the number of unused slots of a dataset that are kept.
var maxFreeSlots = 2 * runtime.GOMAXPROCS(0)

func (s *stagingSlots) init() {
	s.free, s.templates = map[string][]*stagingSlot{}, map[string]bool{}
}

// stagingSlot returns an empty slot for a batch of the dataset. The caller calls reuseSlot or discardSlot.
func (w *Warehouse) stagingSlot(ctx context.Context, dataset schema.Dataset) (*stagingSlot, error) {
	w.slots.mu.Lock()
	if free := w.slots.free[dataset.Name]; len(free) > 0 {
		slot := free[len(free)-1]
		w.slots.free[dataset.Name] = free[:len(free)-1]
		w.slots.mu.Unlock()
		return slot, nil
	}
	w.slots.last++
	number := w.slots.last
	w.slots.mu.Unlock()
	slot := &stagingSlot{dataset: dataset, database: fmt.Sprintf("batch_%d", number)}
	if err := w.openSlot(ctx, slot); err != nil {
		return nil, errors.Join(err, w.discardSlot(slot))
	}
	return slot, nil
}

// openSlot creates the database of a slot and opens its connection.
func (w *Warehouse) openSlot(ctx context.Context, slot *stagingSlot) (err error) {
	if slot.conn, err = w.loader.Conn(ctx); err != nil {
		return err
	}
	slot.source = duckdb.NewLineSource()
	typing := slot.dataset.Staging(slot.source.Relation).Typing
	template, err := w.stagedTemplate(ctx, slot, typing)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"ATTACH ':memory:' AS " + slot.database,
		"CREATE TABLE " + slot.database + ".main.staged AS FROM " + template,
		setSearchPath(slot.database+".main", "memory.main"),
	} {
		if _, err := slot.conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	slot.typing, err = duckdb.Prepare(ctx, slot.conn, "INSERT INTO staged "+typing)
	return err
}

// stagedTemplate returns the name of an empty table with the columns of the rows that the statement typing selects. It
// creates the table if the dataset has none yet.
func (w *Warehouse) stagedTemplate(ctx context.Context, slot *stagingSlot, typing string) (name string, err error) {
	name = "memory.main." + statements.Ident("staged_"+slot.dataset.Name)
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	if w.slots.templates[slot.dataset.Name] {
		return name, nil
	}
	create := "CREATE TABLE " + name + " AS FROM (" + typing + ") LIMIT 0"
	if _, err := slot.conn.ExecContext(ctx, create); err != nil {
		return "", err
	}
	w.slots.templates[slot.dataset.Name] = true
	return name, nil
}

// setSearchPath returns the statement that makes a connection look names up in the schemas.
func setSearchPath(schemas ...string) string {
	return "SET search_path = " + statements.Text(strings.Join(schemas, ","))
}

// reuseSlot empties the slot of a batch that had few rows, for another batch. The checkpoint removes the deleted rows
// from memory, unless another transaction may still see them: one that lists the tables of all databases, for example.
// The row numbers of the next batch then begin after theirs, see [Staged.firstRow].
func (w *Warehouse) reuseSlot(slot *stagingSlot) error {
	ctx := context.Background()
	_, err := slot.conn.ExecContext(ctx, "DELETE FROM staged")
	if err == nil {
		err = checkpointDatabase(ctx, slot.conn, slot.database)
	}
	if err != nil {
		return errors.Join(err, w.discardSlot(slot))
	}
	w.slots.mu.Lock()
	free := w.slots.free[slot.dataset.Name]
	keep := len(free) < maxFreeSlots
	if keep {
		w.slots.free[slot.dataset.Name] = append(free, slot)
	}
	w.slots.mu.Unlock()
	if keep {
		return nil
	}
	return w.discardSlot(slot)
}

// discardSlot closes the connection of a slot, which drops its temporary tables, and drops its database.
func (w *Warehouse) discardSlot(slot *stagingSlot) (err error) {
	if slot.typing != nil {
		slot.typing.Close()
	}
	if slot.conn != nil {
		err = discard(slot.conn)
	}
	_, detached := w.loader.ExecContext(context.Background(), "DETACH DATABASE IF EXISTS "+slot.database)
	if slot.source != nil {
		slot.source.Drop()
	}
	return errors.Join(err, detached)
}

// closeSlots discards the slots. No batch may use one.
func (w *Warehouse) closeSlots() error {
	w.slots.mu.Lock()
	free := w.slots.free
	w.slots.free = nil
	w.slots.mu.Unlock()
	var errs []error
	for _, slots := range free {
		for _, slot := range slots {
			errs = append(errs, w.discardSlot(slot))
		}
	}
	return errors.Join(errs...)
}
