package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Rows of each tenant. The load changes and restores these rows and adds no others, so that the data has a fixed size.
const (
	callsEach     = 60
	customersEach = 20
	messagesEach  = 60
)

// A tenant is a tenant with its rows, and the state of its clients.
type tenant struct {
	id  uuid.UUID
	key string // secret key

	mu     sync.Mutex
	cursor string // next position in the change feed, as a query; guarded by mu
	last   push   // newest acknowledged push; guarded by mu
}

// A push is a body with its idempotency key.
type push struct {
	key  string
	body []byte
}

// idNamespace is the UUID namespace of all generated ids.
var idNamespace = uuid.MustParse("0b6c9f5e-7d43-5b0e-9c58-2f1a6d0e7a33")

func newTenants(n int) []*tenant {
	tenants := make([]*tenant, n)
	for i := range tenants {
		tenants[i] = &tenant{id: uuid.NewSHA1(idNamespace, fmt.Appendf(nil, "tenant/%d", i)), cursor: "since=0"}
	}
	return tenants
}

// rowID returns the id of row i of a dataset.
func (t *tenant) rowID(dataset string, i int) uuid.UUID {
	return uuid.NewSHA1(t.id, fmt.Appendf(nil, "%s/%d", dataset, i))
}

func (t *tenant) number(i int) string { return fmt.Sprintf("+9198%02d%06d", t.id[0]%100, i) }

// created is the creation time of the oldest row. It is fixed, so that every run has the same months.
var created = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

// row returns row i of a dataset in its given version. The version changes a few fields.
func (t *tenant) row(dataset string, i, version int) map[string]any {
	at := created.Add(time.Duration(i) * 7 * time.Hour)
	customer := i % customersEach
	row := map[string]any{"user_id": t.id, "id": t.rowID(dataset, i), "created_at": at}
	switch dataset {
	case "calls":
		row["call_sid"] = fmt.Sprintf("CA%032x", i)
		row["direction"], row["status"], row["provider"] = "inbound", "completed", "twilio"
		row["from_number"], row["to_number"] = t.number(customer), "+918000000001"
		row["phone_number"] = t.number(customer)
		row["started_at"], row["ended_at"] = at, at.Add(3*time.Minute)
		row["duration"], row["duration_seconds"] = 180, 180
		row["assistant_id"] = t.rowID("assistant", i%4)
		row["cost"] = float64(version%10_000) / 10_000
		row["summary"] = fmt.Sprintf("The customer asked for an appointment, version %d.", version)
		row["transcript"] = []map[string]any{
			{"speaker": "AI", "text": "Good morning, how may I help you?"},
			{"speaker": "Caller", "text": fmt.Sprintf("I would like an appointment on day %d.", i)},
			{"speaker": "AI", "text": "That day is free. Shall I book it for you?"},
			{"speaker": "Caller", "text": "Yes, please."},
		}
		row["metadata"] = map[string]any{"version": version}
	case "customers":
		row["name"], row["phone_number"] = fmt.Sprintf("Customer %d", i), t.number(i)
		row["email"], row["source"] = fmt.Sprintf("customer%d@example.com", i), "website"
		row["interaction_count"], row["variables"] = version, map[string]any{"version": version}
	case "messages":
		row["direction"], row["message_type"] = "inbound", "text"
		row["status"] = []string{"sent", "delivered", "read"}[version%3]
		row["from_number"], row["to_number"] = t.number(customer), "+918000000001"
		row["content"] = map[string]any{"text": map[string]any{"body": fmt.Sprintf("Is day %d free?", i)}}
		row["customer_id"] = t.rowID("customers", customer)
		row["wa_message_id"] = fmt.Sprintf("wamid.%032X", i)
	}
	return row
}

// lines returns rows as NDJSON.
func lines(rows ...map[string]any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, row := range rows {
		_ = encoder.Encode(row) // maps of texts, numbers and times
	}
	return out.Bytes()
}

// ingestTenants creates the tenants with their rows and published files, by `voicory ingest`.
func ingestTenants(ctx context.Context, voicory, dir, data string, tenants []*tenant) error {
	args := []string{"ingest", "--data", data}
	for dataset, n := range map[string]int{"calls": callsEach, "customers": customersEach, "messages": messagesEach} {
		name := filepath.Join(dir, dataset+".ndjson")
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		out := bufio.NewWriter(file)
		for _, t := range tenants {
			for i := range n {
				_, _ = out.Write(lines(t.row(dataset, i, 0))) // Flush returns its error
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		args = append(args, name)
	}
	command := exec.CommandContext(ctx, voicory, args...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("voicory ingest: %w: %s", err, out)
	}
	return nil
}
