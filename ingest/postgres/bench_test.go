package postgres_test

import (
	"context"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
)

// BenchmarkPass measures a full pull, psql copying the same tables to /dev/null, and an incremental pull.
func BenchmarkPass(b *testing.B) {
	size := platform.Size{Tenants: 200, Calls: 50_000, Customers: 10_000, Messages: 100_000, End: time.Now()}
	d := newDatabase(b, platform.Schema, size.Fill())
	source := d.source(postgres.Options{})
	var state []byte
	discard := func(_ context.Context, p ingest.Portion) error {
		if p.State != nil {
			state = p.State
		}
		_, err := io.Copy(io.Discard, p.Rows)
		return err
	}
	rows := float64(size.Calls + size.Customers + size.Messages)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			noError(b, source.Pull(b.Context(), nil, discard))
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("psql", func(b *testing.B) {
		for b.Loop() {
			for _, table := range []string{"customers", "call_logs", "whatsapp_messages"} {
				out, err := exec.CommandContext(
					b.Context(),
					"psql",
					"-q",
					"-c",
					`\copy `+table+` to /dev/null`,
					d.dsn(),
				).CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("next", func(b *testing.B) {
		for b.Loop() {
			noError(b, source.Pull(b.Context(), state, discard))
		}
	})
}
