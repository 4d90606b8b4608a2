package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

type demoCommand struct {
	URL string `help:"URL of the server in the printed examples." default:"http://localhost:8080"`
}

// demoTenant is the tenant of the demo. All of its rows are generated.
var demoTenant = demo.Tenant{
	ID: uuid.MustParse("d3a0c0de-0000-4000-8000-000000000001"), Calls: 2_000, Customers: 500, Messages: 10_000,
}

// demoLabel is the label of the keys that the demo creates and replaces.
const demoLabel = "demo"

// demoKeys is the result of the command: the tenant and its new keys.
type demoKeys struct {
	Tenant uuid.UUID `json:"tenant_id"`
	Public string    `json:"public_key"`
	Secret string    `json:"secret_key"`
}

// Run ingests and publishes the generated rows and creates two keys. A second run changes no rows. It replaces the keys
// of the first run, because their texts cannot be printed again.
func (c *demoCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withCreated(ctx, func(conn *admin.Conn) error {
		for _, part := range []struct {
			dataset schema.Dataset
			write   func(io.Writer) error
		}{
			{schema.Calls, demoTenant.WriteCalls},
			{schema.Customers, demoTenant.WriteCustomers},
			{schema.Messages, demoTenant.WriteMessages},
		} {
			reader, writer := io.Pipe()
			go func() { writer.CloseWithError(part.write(writer)) }()
			_, err := admin.Ingest(ctx, conn, []ingest.Input{{Name: part.dataset.Name + ".ndjson", Body: reader}})
			if err := errors.Join(err, reader.Close()); err != nil { // Close ends the writer goroutine, also after an error
				return err
			}
		}
		if _, err := m.publish(ctx, conn, []uuid.UUID{demoTenant.ID}); err != nil {
			return err
		}
		out := demoKeys{Tenant: demoTenant.ID}
		if err := replaceDemoKeys(ctx, conn, &out); err != nil {
			return err
		}
		return m.printResult(f, out, func(w io.Writer) { c.printExamples(w, f, out) })
	})
}

// replaceDemoKeys revokes the keys of earlier demos and stores a new public and a new secret key in out.
func replaceDemoKeys(ctx context.Context, conn *admin.Conn, out *demoKeys) error {
	keys, err := admin.ListKeys.Call(ctx, conn, admin.None{})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.Tenant == demoTenant.ID && key.Label == demoLabel && key.RevokedAt == nil {
			if _, err := admin.RevokeKey.Call(ctx, conn, key.ID); err != nil {
				return err
			}
		}
	}
	for typ, text := range map[control.KeyType]*string{control.Public: &out.Public, control.Secret: &out.Secret} {
		key, err := admin.CreateKey.Call(ctx, conn, admin.NewKey{
			Tenant: demoTenant.ID, Type: typ, Settings: control.KeySettings{Label: demoLabel},
		})
		if err != nil {
			return err
		}
		*text = key.Text
	}
	return nil
}

// printExamples prints the keys and commands that use them.
func (c *demoCommand) printExamples(w io.Writer, f *flags, out demoKeys) {
	customer := demoTenant.CustomerID(0)
	fmt.Fprintf(w, `demo tenant %s

  public key  %s
  secret key  %s

A page of calls:
  curl -s '%s/api/v1/calls?limit=2' -H 'x-api-key: %s'

A customer with recent calls and messages:
  curl -s '%s/api/v1/customers/%s' -H 'x-api-key: %s'

The published Parquet, in any DuckDB shell:
  SELECT month, count(*) AS calls, sum(cost) AS usd `+
		`FROM read_parquet('%s/tenant_id=*/calls/*/*.parquet', hive_partitioning = true) GROUP BY month ORDER BY month;

`, out.Tenant, out.Public, out.Secret, c.URL, out.Public, c.URL, customer, out.Public, filepath.Join(f.Data, "lake"))
}
