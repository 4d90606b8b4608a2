package iceberg_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// manyTenants is a source of tenants with a file for each of 60 months.
type manyTenants struct {
	tenants []warehouse.TableTenant
	files   []warehouse.TableFile
}

func newManyTenants(n int) *manyTenants {
	s := &manyTenants{}
	for i := range n {
		s.tenants = append(s.tenants, warehouse.TableTenant{ID: uuid.MustParse(warehousetest.ID(i + 1))})
	}
	for month := range 60 {
		f := warehouse.TableFile{PublishedAt: time.Now().Add(-time.Hour)}
		f.Month = fmt.Sprintf("%d-%02d", 2021+month/12, 1+month%12)
		f.Name = fmt.Sprintf("calls-%s-0123456789abcdef.parquet", f.Month)
		f.Rows, f.Bytes, f.MinCreatedAt, f.MaxCreatedAt = 1000, 100_000, time.Now(), time.Now()
		s.files = append(s.files, f)
	}
	return s
}

func (s *manyTenants) TableTenants(context.Context) ([]warehouse.TableTenant, error) {
	return s.tenants, nil
}

func (s *manyTenants) TableFiles(context.Context, uuid.UUID, string) ([]warehouse.TableFile, error) {
	return s.files, nil
}

func (s *manyTenants) TableCommit(uuid.UUID) warehouse.TableCommit { return warehouse.TableCommit{} }

func (s *manyTenants) OpenPublished(context.Context, uuid.UUID, string, string) (
	file warehouse.PublishedFile, content *os.File, err error,
) {
	return file, nil, warehouse.ErrNotFound
}

func (s *manyTenants) OpenFooter(context.Context, uuid.UUID, string, string) (
	file warehouse.PublishedFile, footer warehouse.Footer, err error,
) {
	return file, nil, warehouse.ErrNotFound
}

// BenchmarkUnion_Load measures the derivation of a table of all tenants, without the queries of their stores.
func BenchmarkUnion_Load(b *testing.B) {
	for _, tenants := range []int{200, 1000} {
		source := newManyTenants(tenants)
		load := func(b *testing.B, u *iceberg.Union) {
			b.Helper()
			_, _, err := u.Load(b.Context(), false)
			warehousetest.NoError(b, err)
		}
		b.Run(fmt.Sprintf("first of %d tenants", tenants), func(b *testing.B) {
			for b.Loop() {
				load(b, iceberg.NewUnion(source, schema.MustExport("calls"), "s3://b/all/calls", time.Now))
			}
		})
		b.Run(fmt.Sprintf("unchanged of %d tenants", tenants), func(b *testing.B) {
			u := iceberg.NewUnion(source, schema.MustExport("calls"), "s3://b/all/calls", time.Now)
			load(b, u)
			for b.Loop() {
				load(b, u)
			}
		})
		b.Run(fmt.Sprintf("one changed of %d tenants", tenants), func(b *testing.B) {
			u := iceberg.NewUnion(source, schema.MustExport("calls"), "s3://b/all/calls", time.Now)
			load(b, u)
			source.tenants[0].Failing = true // read again
			for b.Loop() {
				load(b, u)
			}
			source.tenants[0].Failing = false
		})
	}
}
