package iceberg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

type tableMetadata struct {
	Location        string
	CurrentSnapshot int64 `json:"current-snapshot-id"`
	Snapshots       []struct {
		ID           int64             `json:"snapshot-id"`
		ManifestList string            `json:"manifest-list"`
		Summary      map[string]string `json:"summary"`
	}
	Schemas []struct {
		Fields []struct {
			ID   int
			Name string
			Type any
			Doc  string
		}
	}
	Specs []struct {
		Fields []struct {
			Source int `json:"source-id"`
		}
	} `json:"partition-specs"`
}

func load(t *testing.T, tables *iceberg.Tables, export string) (
	*iceberg.Table, tableMetadata,
) {
	t.Helper()
	table, err := tables.Load(t.Context(), warehousetest.TenantA, schema.MustExport(export), "s3://b/t/"+export)
	warehousetest.NoError(t, err)
	var m tableMetadata
	warehousetest.NoError(t, json.Unmarshal(table.Metadata(false), &m))
	return table, m
}

// key returns the key of a URL below the location of a table.
func (m tableMetadata) key(url string) string { return strings.TrimPrefix(url, m.Location+"/") }

func TestTables_SnapshotsFollowPublications(t *testing.T) {
	w := warehousetest.OpenNew(t)
	tables := iceberg.NewTables(w, time.Now)
	publish := func(n, month int, number string) {
		t.Helper()
		warehousetest.Merge(t, w, schema.Calls, warehousetest.Call(warehousetest.TenantA, n,
			warehousetest.Row{"created_at": fmt.Sprintf("2026-%02d-03T10:00:00Z", month), "from_number": number}))
		_, err := w.Publish(t.Context())
		warehousetest.NoError(t, err)
	}
	warehousetest.Merge(t, w, schema.Customers, warehousetest.Row{"user_id": warehousetest.TenantA,
		"id": warehousetest.ID(1), "phone_number": "+15550100", "created_at": "2026-01-01T00:00:00Z"})
	publish(1, 1, "+15550199") // the month of another person, whose file an erasure keeps
	publish(2, 2, "+15550100")
	publish(3, 2, "+15550100")

	table, m := load(t, tables, "calls")
	var totals []string
	for _, s := range m.Snapshots {
		totals = append(totals, s.Summary["total-records"]+" rows in "+s.Summary["total-data-files"])
	}
	if want := []string{"1 rows in 1", "2 rows in 2", "3 rows in 2"}; !slices.Equal(totals, want) {
		t.Errorf("got snapshots %q, want %q", totals, want)
	}
	if _, customers := load(t, tables, "customers"); len(customers.Snapshots) != 1 {
		t.Errorf("got %d snapshots of customers, which one publication wrote", len(customers.Snapshots))
	}
	if _, messages := load(t, tables, "messages"); messages.CurrentSnapshot != -1 || len(messages.Snapshots) != 0 {
		t.Errorf("got snapshot %d of messages, which have no rows", messages.CurrentSnapshot)
	}

	t.Run("equal metadata after a restart", func(t *testing.T) {
		again := iceberg.NewTables(w, time.Now)
		for _, s := range m.Snapshots {
			first, _, err := tables.Metadata(t.Context(), table, m.key(s.ManifestList))
			warehousetest.NoError(t, err)
			second, _, err := again.Metadata(t.Context(), table, m.key(s.ManifestList))
			warehousetest.NoError(t, err)
			if !bytes.Equal(first, second) {
				t.Errorf("manifest list %s has other bytes", s.ManifestList)
			}
		}
	})
	t.Run("unknown names", func(t *testing.T) {
		list := m.key(m.Snapshots[0].ManifestList)
		for _, key := range []string{"metadata/", "metadata/x", "metadata/0-0", list + "x", "metadata/../" + list,
			strings.ToUpper(list), strings.Replace(list, "snap-", "snap-0", 1), strings.TrimPrefix(list, "metadata/")} {
			_, _, err := tables.Metadata(t.Context(), table, key)
			if !errors.Is(err, warehouse.ErrNotFound) {
				t.Errorf("%s: got error %v, want ErrNotFound", key, err)
			}
		}
	})
	t.Run("snapshots expire", func(t *testing.T) {
		later := iceberg.NewTables(w, func() time.Time { return time.Now().Add(warehouse.TableKept) })
		if _, m := load(t, later, "calls"); len(m.Snapshots) != 1 {
			t.Errorf("got %d snapshots after the grace time, want 1", len(m.Snapshots))
		}
	})
	t.Run("erasure ends the history", func(t *testing.T) {
		_, err := w.Erase(t.Context(), warehousetest.TenantA, warehousetest.ID(1), warehouse.EraseOptions{})
		warehousetest.NoError(t, err)
		table, after := load(t, tables, "calls")
		if len(after.Snapshots) > 1 {
			t.Errorf("got %d snapshots after an erasure", len(after.Snapshots))
		}
		for _, s := range m.Snapshots {
			if _, _, err := tables.Metadata(t.Context(), table, m.key(s.ManifestList)); !errors.Is(err, warehouse.ErrNotFound) {
				t.Errorf("snapshot %d from before the erasure: got error %v, want ErrNotFound", s.ID, err)
			}
		}
	})
}

func TestTables_SchemaHasTheColumnsOfEachExport(t *testing.T) {
	types := map[string]string{
		"calls.id": "string", "calls.cost": "decimal(10, 4)", "calls.created_at": "timestamptz", "calls.metadata": "string",
		"calls.duration": "int", "messages.is_from_bot": "boolean", "cost_daily.day": "date",
		"cost_daily.tts_characters": "decimal(38, 0)", "cost_daily.stt_minutes": "double", "cost_daily.calls": "long",
		"calls.transcript": `{"element":{"fields":[{"id":24,"name":"speaker","required":false,"type":"string"},` +
			`{"id":25,"name":"text","required":false,"type":"string"},` +
			`{"id":26,"name":"timestamp_ms","required":false,"type":"long"}],"type":"struct"},` +
			`"element-id":23,"element-required":false,"type":"list"}`,
	}
	for _, export := range schema.Exports {
		table := iceberg.NewTable(warehousetest.TenantA, export, "s3://b/t", nil, time.Now())
		var m tableMetadata
		warehousetest.NoError(t, json.Unmarshal(table.Metadata(false), &m))
		if got, want := len(m.Specs[0].Fields) == 1, export.Source.Monthly; got != want {
			t.Errorf("%s: partitioned is %t, want %t", export.Name, got, want)
		}
		for i, f := range m.Schemas[0].Fields {
			column := export.Columns[i]
			if f.ID != column.ID || f.Name != column.Name || f.Doc != column.Comment() {
				t.Errorf("%s: got field %+v for column %+v", export.Name, f, column)
			}
			text, isText := f.Type.(string)
			if encoded, _ := json.Marshal(f.Type); !isText {
				text = string(encoded)
			}
			if want := types[export.Name+"."+f.Name]; want != "" && text != want {
				t.Errorf("%s.%s: got type %s, want %s", export.Name, f.Name, text, want)
			}
			delete(types, export.Name+"."+f.Name)
		}
	}
	for name := range types {
		t.Errorf("no column %s", name)
	}
}
