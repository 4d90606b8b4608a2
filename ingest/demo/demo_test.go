package demo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest/demo"
)

var tenant = demo.Tenant{ID: uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001"), Calls: 400, Customers: 50,
	Messages: 600}

func output(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestTenant_Deterministic(t *testing.T) {
	for _, write := range []func(io.Writer) error{tenant.WriteCalls, tenant.WriteCustomers, tenant.WriteMessages} {
		once, again := output(t, write), output(t, write)
		if !bytes.Equal(once, again) {
			t.Error("got different rows in two runs, want equal ones")
		}
	}
	other := tenant
	other.ID[15]++
	if bytes.Equal(output(t, tenant.WriteCalls), output(t, other.WriteCalls)) {
		t.Error("got equal calls for two tenants, want different ones")
	}
}

// Calls and messages belong to existing customers, and the interaction counts match the calls.
func TestTenant_RowsReferToEachOther(t *testing.T) {
	interactions := 0
	customers := map[string]bool{}
	for line := range bytes.Lines(output(t, tenant.WriteCustomers)) {
		var row struct {
			ID           string `json:"id"`
			Interactions int    `json:"interaction_count"`
			PhoneNumber  string `json:"phone_number"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		interactions += row.Interactions
		customers[row.ID] = true
		customers[strings.ReplaceAll(row.PhoneNumber, " ", "")] = true
	}
	if interactions != tenant.Calls {
		t.Errorf("got %d interactions, want %d", interactions, tenant.Calls)
	}
	shapes := map[string]int{}
	for line := range bytes.Lines(output(t, tenant.WriteCalls)) {
		var row struct {
			Direction  string `json:"direction"`
			From       string `json:"from_number"`
			To         string `json:"to_number"`
			CreatedAt  string `json:"created_at"`
			Transcript any    `json:"transcript"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		shapes[fmt.Sprintf("%T", row.Transcript)]++
		number := row.From
		if row.Direction == "outbound" {
			number = row.To
		}
		if !customers[number] {
			t.Fatalf("got a call with %s, want the number of a customer", number)
		}
		if row.CreatedAt < "2025-11-01" || row.CreatedAt >= "2026-11-01" {
			t.Errorf("got created_at %s, want a time in the year", row.CreatedAt)
		}
	}
	if len(shapes) != 3 {
		t.Errorf("got transcripts of the types %v, want 3 types", shapes)
	}
	for line := range bytes.Lines(output(t, tenant.WriteMessages)) {
		var row struct {
			Customer string `json:"customer_id"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if !customers[row.Customer] {
			t.Fatalf("got customer_id %s, want the id of a customer", row.Customer)
		}
	}
}

func BenchmarkCalls(b *testing.B) {
	for b.Loop() {
		if err := tenant.WriteCalls(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
