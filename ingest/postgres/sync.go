package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A syncRun is one call of Source.Pull: a transaction and the tables found in it.
type syncRun struct {
	*Source
	*deployment
	take func(context.Context, ingest.Portion) error
	tx   pgx.Tx
	now  time.Time // time of the snapshot

	databaseID uint32 // object id of the database
	decoder    textDecoder

	done, total  int64 // rows read, and an estimate of all rows; total is 0 if unknown
	foreignCache struct {
		tenant  uuid.UUID
		foreign bool
	}
}

// prepare begins the transaction and inspects the tables. It returns the time from which rows are to be read, or nil if
// all rows are.
func (p *syncRun) prepare(ctx context.Context, previous state) (since *time.Time, err error) {
	if _, err := p.tx.Exec(ctx, statement("session_settings"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, p.explainError(ctx, "begin the transaction", err)
	}
	var encoding string
	row := p.tx.QueryRow(ctx, statement("client_encoding"), slices.Sorted(maps.Keys(serverEncodings)))
	if err := row.Scan(&encoding, nil); err != nil {
		return nil, p.explainError(ctx, "begin the transaction", err)
	}
	p.decoder = textDecoder{serverEncodings[encoding]}
	const snapshot = "SELECT now(), oid FROM pg_database WHERE datname = current_database()"
	if err := p.tx.QueryRow(ctx, snapshot).Scan(&p.now, &p.databaseID); err != nil {
		return nil, p.explainError(ctx, "take the snapshot", err)
	}
	if p.deployment, err = inspect(ctx, p.tx); err != nil {
		return nil, p.explainError(ctx, "inspect the platform's tables", err)
	}
	for _, names := range [][]string{p.deployment.missing, p.deployment.unread} {
		for i, name := range names {
			names[i] = p.decoder.text(name)
		}
	}
	missing := p.deployment.missing
	if !slices.Equal(missing, p.Source.missing) && len(missing) > 0 {
		p.options.Log.WarnContext(ctx, "tables or columns are missing in the platform's database",
			"missing", strings.Join(missing, ", "))
	}
	p.Source.missing = missing
	p.Source.unread = slices.DeleteFunc(slices.Clone(p.deployment.unread),
		func(name string) bool { return slices.Contains(previous.Unread, name) })
	if len(p.Source.unread) > 0 {
		p.options.Log.InfoContext(ctx, "columns of the platform's database are not read",
			"columns", strings.Join(p.Source.unread, ", "))
	}
	for _, name := range previous.Read {
		if !slices.Contains(p.readTables(), name) {
			return nil, fmt.Errorf("%w: the table %s was read before and cannot be read now (missing: %s): check the search "+
				"path and the privileges of the user; if the table is gone for good, create an empty view of that name",
				ErrUnusable, name, strings.Join(missing, ", "))
		}
	}
	recovered := slices.ContainsFunc(previous.Missing, func(name string) bool { return !slices.Contains(missing, name) })
	if previous.Since.IsZero() || recovered || p.replaced(previous.Relations) {
		for _, t := range tables {
			if p.hasDataset(t) {
				p.total += p.tables[t.name].rows
			}
		}
		return nil, nil
	}
	from := previous.Since
	if p.now.Before(from) {
		from = p.now // the database's clock was set back, or the database was restored
	}
	from = from.Add(-p.options.Window)
	return &from, nil
}

// readTables returns the names of the tables that are read as datasets.
func (p *syncRun) readTables() (names []string) {
	for _, t := range tables {
		if p.hasDataset(t) {
			names = append(names, t.name)
		}
	}
	return names
}

// relations returns the object ids of the tables that are read, and of the database under an empty name.
func (p *syncRun) relations() map[string]uint32 {
	ids := map[string]uint32{"": p.databaseID}
	for name, found := range p.tables {
		ids[name] = found.id
	}
	return ids
}

// replaced reports whether a table of the previous pull is another one now.
func (p *syncRun) replaced(previous map[string]uint32) bool {
	for name, id := range p.relations() {
		if before, ok := previous[name]; ok && before != id {
			return true
		}
	}
	return false
}

// readAll emits the keys, the deleted customers and all rows since the given time. The last portion contains the state,
// so that a pull that fails earlier is repeated. Nothing is emitted before the missing customers are counted.
func (p *syncRun) readAll(ctx context.Context, previous state, since *time.Time) error {
	customers, err := p.compareCustomers(ctx)
	if err != nil {
		return err
	}
	configs, err := p.readConfigs(ctx)
	if err != nil {
		return err
	}
	if err := p.importKeys(ctx); err != nil {
		return err
	}
	if err := p.emitDeleted(ctx, customers.missing); err != nil {
		return err
	}
	movedBefore := p.now
	if since != nil {
		movedBefore = previous.Since
	}
	var readable []table
	var readers []*rowReader
	for _, t := range tables {
		if !p.hasDataset(t) {
			continue
		}
		reader, err := p.openTable(ctx, t, p.arguments(t, since, customers.again, changedConfigs(previous.Configs, configs)))
		if err != nil {
			return err
		}
		if len(readers) > 0 {
			readers[len(readers)-1].next = reader
		}
		readable, readers = append(readable, t), append(readers, reader)
	}
	for i, t := range readable {
		portion := ingest.Portion{Dataset: t.dataset, Absent: p.missingFields(t), Rows: readers[i], MovedBefore: movedBefore}
		if i == len(readable)-1 {
			next := state{Since: p.now, Missing: p.deployment.missing, Unread: p.deployment.unread, Read: p.readTables(),
				Relations: p.relations(), Configs: configs}
			if portion.State, err = json.Marshal(next); err != nil {
				return err
			}
		}
		if err := p.take(ctx, portion); err != nil {
			return err
		}
		if err := readers[i].err; err != nil && !readers[i].complete() {
			return err // even if take ignored it
		}
		if err := readers[i].close(); err != nil {
			return err
		}
	}
	return nil
}

// arguments returns the arguments of the statement that reads the rows of a table since a time: the time, and for
// customers and messages the ids that are read even if their time is earlier.
func (p *syncRun) arguments(t table, since *time.Time, customers, configs []string) []any {
	switch t.dataset.Name {
	case schema.Customers.Name:
		if len(customers) > maxAgain {
			since, customers = nil, nil
		}
		return []any{since, customers}
	case schema.Messages.Name:
		return []any{since, configs}
	}
	return []any{since}
}

// readConfigs returns the tenants of the WhatsApp numbers.
func (p *syncRun) readConfigs(ctx context.Context) (map[string]string, error) {
	configs := map[string]string{}
	rows, err := p.tx.Query(ctx, p.render("configs"))
	if err == nil {
		var config, tenant string
		_, err = pgx.ForEachRow(rows, []any{&config, &tenant}, func() error { configs[config] = tenant; return nil })
	}
	return configs, p.explainError(ctx, "read whatsapp_configs", err)
}

// changedConfigs returns the WhatsApp numbers whose tenant is not the one of the previous pull.
func changedConfigs(previous, current map[string]string) (changed []string) {
	for config, tenant := range current {
		if previous[config] != tenant {
			changed = append(changed, config)
		}
	}
	slices.Sort(changed)
	return changed
}

// openTable declares a cursor over the table and returns a reader of its rows.
func (p *syncRun) openTable(ctx context.Context, t table, arguments []any) (*rowReader, error) {
	action, cursor := "read "+t.name, pgx.Identifier{t.name + "_page"}.Sanitize()
	declare := "DECLARE " + cursor + " NO SCROLL CURSOR FOR " + p.render(t.dataset.Name)
	if _, err := p.tx.Exec(ctx, declare, arguments...); err != nil {
		return nil, p.explainError(ctx, action, err)
	}
	return openRows(ctx, p.tx.Conn().PgConn(), cursor, action, p.decoder, p.addProgress, p.explainError)
}

// addProgress reports that further rows have been read.
func (p *syncRun) addProgress(rows int64) {
	p.done += rows
	if p.options.Progress != nil {
		p.options.Progress(p.done, p.total)
	}
}
