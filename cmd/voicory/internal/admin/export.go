package admin

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Database is the name of the export of all rows of a tenant as one DuckDB file.
const Database = "all"

// ExportSpec describes an export. A Database needs only the tenant and the dataset.
type ExportSpec struct {
	Tenant  uuid.UUID          `json:"tenant_id"`
	Dataset string             `json:"dataset"`
	Filter  schema.Filter      `json:"filter"`
	Columns []string           `json:"columns"`
	Format  exports.Format     `json:"format"`
	CSV     exports.CSVOptions `json:"csv"`
}

// Exported describes an export that was written.
type Exported struct {
	Rows int64     `json:"rows"`
	AsOf time.Time `json:"as_of"` // time of the snapshot
}

// Export writes an export. It returns warehouse.ErrNotFound if the tenant or the export does not exist.
var Export = download("export",
	func(ctx context.Context, l *Local, spec ExportSpec, out io.Writer) (total Exported, err error) {
		if err := l.requireTenant(ctx, spec.Tenant); err != nil {
			return total, err
		}
		if spec.Dataset == Database {
			return l.exportDatabase(ctx, spec.Tenant, out)
		}
		export, err := schema.ExportNamed(spec.Dataset)
		if err != nil {
			return total, err
		}
		s, err := exports.Open(ctx, l.Warehouse, spec.Tenant, exports.Request{
			Export: export, Filter: spec.Filter, Columns: spec.Columns, Format: spec.Format, CSV: spec.CSV,
		})
		if err != nil {
			return total, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		total.AsOf = s.AsOf
		total.Rows, err = s.Write(ctx, out)
		return total, err
	})

// exportDatabase writes the DuckDB database of a tenant to a temporary file and copies it to out.
func (l *Local) exportDatabase(ctx context.Context, tenant uuid.UUID, out io.Writer) (total Exported, err error) {
	dir, err := os.MkdirTemp(l.Warehouse.TempDir(), "export-*")
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, exports.DatabaseFile)
	written, err := l.Warehouse.WriteDatabase(ctx, tenant, path)
	if err != nil {
		return total, err
	}
	total.AsOf = written.AsOf
	for _, rows := range written.Rows {
		total.Rows += rows
	}
	file, err := os.Open(path)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := os.Remove(path); err != nil { // the kernel frees its space also if the process is killed during the copy
		return total, err
	}
	_, err = io.Copy(out, &contextReader{ctx, file})
	return total, err
}

// contextReader returns the cause of ctx from its reads once ctx is done.
type contextReader struct {
	ctx context.Context
	in  io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
