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

var tenant = demo.Tenant{ID: uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001"), Calls: 400, Customers: 50, Messages: 600}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestTheSameOnEveryRun(t *testing.T) {
	for _, write := range []func(io.Writer) error{tenant.WriteCalls, tenant.WriteCustomers, tenant.WriteMessages} {
		once, again := written(t, write), written(t, write)
		if !bytes.Equal(once, again) {
			t.Error("two runs differ")
		}
	}
	other := tenant
	other.ID[15]++
	if bytes.Equal(written(t, tenant.WriteCalls), written(t, other.WriteCalls)) {
		t.Error("two tenants have the same calls")
	}
}

// Calls and messages are the customers', and what a customer counts is there.
func TestRowsBelongTogether(t *testing.T) {
	interactions := 0
	customers := map[string]bool{}
	for line := range bytes.Lines(written(t, tenant.WriteCustomers)) {
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
		t.Errorf("customers count %d interactions, there are %d calls", interactions, tenant.Calls)
	}
	shapes := map[string]int{}
	for line := range bytes.Lines(written(t, tenant.WriteCalls)) {
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
			t.Fatalf("no customer has %s", number)
		}
		if row.CreatedAt < "2025-11-01" || row.CreatedAt >= "2026-11-01" {
			t.Errorf("created at %s", row.CreatedAt)
		}
	}
	if len(shapes) != 3 {
		t.Errorf("transcripts are %v", shapes)
	}
	for line := range bytes.Lines(written(t, tenant.WriteMessages)) {
		var row struct {
			Customer string `json:"customer_id"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if !customers[row.Customer] {
			t.Fatalf("no customer is %s", row.Customer)
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
