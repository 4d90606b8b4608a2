package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/warehouse"
)

// doc is a row as the REST API returns it.
type doc map[string]any

// datasetDocs maps each dataset to its rows by id.
type datasetDocs map[string]map[string]doc

// sourceFixture is a source under test: put inserts or updates rows in the source, and pull ingests from it.
type sourceFixture struct {
	put  func(datasetDocs)
	pull func() ingest.Summary
}

// A target is the tenant of a server that a fixture ingests into.
type target struct {
	conn      *admin.Conn
	data, url string
	tenant    uuid.UUID
}

type startFixture func(*testing.T, target) sourceFixture

// docsOfEveryShape returns rows of a tenant of each dataset with every shape that the platform uses for a field.
func docsOfEveryShape(tenant uuid.UUID, now time.Time) datasetDocs {
	at := func(n int) string {
		return now.Add(-time.Duration(n) * time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	all := datasetDocs{"calls": {}, "customers": {}, "messages": {}}
	add := func(dataset string, fields doc) {
		n := len(all["calls"]) + len(all["customers"]) + len(all["messages"])
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
		row := doc{"id": id, "user_id": tenant.String(), "created_at": at(n)}
		if dataset == "customers" {
			row["updated_at"] = row["created_at"]
			row["name"] = "Customer " + id[30:]
		}
		maps.Copy(row, fields)
		all[dataset][id] = row
	}
	for _, transcript := range []any{nil, []any{}, "Caller: Hello?\nAssistant: Good morning.",
		`[{"speaker":"AI","text":"as a string"}]`,
		[]any{doc{"speaker": "AI", "text": "Namaste 🙏 नमस्ते"},
			doc{"speaker": "Caller", "text": "\"quoted\" \\ and\ttabbed"}},
		[]any{doc{"role": "assistant", "content": "Hi"}, doc{"role": "user", "content": "",
			"timestamp": "2026-01-01T00:00:00Z"}},
		[]any{doc{"role": "user", "message": "late", "timestamp_ms": 1234.0}}} {
		add("calls", doc{"transcript": transcript})
	}
	for _, duration := range []any{nil, "138", "2m 18s", "45s", "02:18", ""} {
		add("calls", doc{"duration": duration, "duration_seconds": 0.0, "started_at": at(9), "ended_at": at(7)})
	}
	for _, cost := range []any{nil, 0.0, 0.25, 12345.6789} {
		add("calls", doc{"cost": cost, "metadata": doc{"cost_breakdown": doc{"stt": 0.1, "llm": nil},
			"tags": []any{"a", 1.0, true}}})
	}
	for _, status := range []string{"initiated", "in-progress", "no_answer", "never heard of", "completed"} {
		add("calls", doc{"status": status, "call_sid": "CA-the-same", "direction": "outbound", "provider": "exotel",
			"summary": "naïve — ok", "from_number": "+91 98765 12345",
			"to_number": "+4912", "assistant_id": uuid.NewString(), "recording_url": "https://example.com/r?a=1&b=2"})
	}
	for _, email := range []any{nil, "", "asha@example.com"} {
		add("customers", doc{"email": email, "phone_number": "+91 98765 12345", "source": "followupboss",
			"interaction_count": 3.0, "last_interaction": at(3), "variables": doc{"plan": "gold", "n": nil}})
	}
	for _, content := range []any{doc{"text": doc{"body": "hi 👋"}}, doc{"body": "x"},
		doc{"mediaId": "m", "caption": nil}, doc{"latitude": 12.5, "longitude": -77.25}, doc{"templateName": "t"}, doc{}} {
		add("messages", doc{"content": content, "message_type": "text", "direction": "inbound", "status": "read",
			"is_from_bot": true, "delivered_at": nil, "read_at": at(1),
			"from_number": "+4912", "to_number": "+4913", "customer_id": uuid.NewString()})
	}
	return all
}

// Rows are the same through every input, whatever the shape of their fields. Ingesting them again changes neither rows
// nor the change feed. Late updates are ingested. Inputs share a server and have a tenant each, except PostgreSQL: it
// deletes rows of every tenant that it lacks.
func TestSources_SameRowsFromEveryInput(t *testing.T) {
	t.Parallel()
	shared := t.TempDir()
	sharedURL, _ := serve(t, shared, "--rate-limit", "none")
	for name, start := range map[string]startFixture{"folder": fromFolder(false), "folder of a tenant": fromFolder(true),
		"files": fromFiles, "voicory": fromVoicory, "postgres": fromPostgres, "push": fromPush} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a folder waits until its files are old enough
			here, url := shared, sharedURL
			if name == "postgres" {
				here = t.TempDir()
				url, _ = serve(t, here, "--rate-limit", "none")
			}
			conn := admin.Dial(warehouse.SocketPath(here))
			defer func() { noError(t, conn.Close()) }()
			tenant := uuid.New()
			from := start(t, target{conn, here, url, tenant})
			key := createKey(t, here, tenant.String(), "public")

			there := docsOfEveryShape(tenant, time.Now())
			from.put(there)
			if summary := from.pull(); summary.New != 31 || summary.Refused != 0 {
				t.Errorf("%+v", summary)
			}
			wantDocs(t, url, key, there)
			places := feedCursors(t, url, key)
			if summary := from.pull(); summary.New+summary.Changed+summary.Deleted+summary.Refused != 0 {
				t.Errorf("second pull: got %+v, want no changes", summary)
			}
			if again := feedCursors(t, url, key); again != places {
				t.Errorf("got feed cursors %s after the second pull, want %s", again, places)
			}
			late := datasetDocs{"calls": {}, "customers": {}, "messages": {}}
			for id, row := range there["calls"] {
				if row["cost"] == nil {
					row["cost"], row["transcript"], row["status"] = 0.75, []any{doc{"speaker": "AI", "text": "late"}}, "completed"
					late["calls"][id] = row
				}
			}
			for id, row := range there["messages"] {
				row["status"] = "failed" // a status may go back
				late["messages"][id] = row
			}
			for id, row := range there["customers"] {
				row["name"], row["updated_at"] = "Renamed", time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
				late["customers"][id] = row
			}
			fresh := doc{"id": uuid.NewString(), "user_id": tenant.String(),
				"created_at": time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}
			there["calls"][fresh["id"].(string)], late["calls"][fresh["id"].(string)] = fresh, fresh
			from.put(late)
			if summary := from.pull(); summary.New != 1 || summary.Changed == 0 || summary.Refused != 0 {
				t.Errorf("late: %+v", summary)
			}
			wantDocs(t, url, key, there)
		})
	}
}

// wantDocs compares the rows of the REST API with want: their number, and each field that a row of want has.
func wantDocs(t *testing.T, url, key string, want datasetDocs) {
	t.Helper()
	for dataset, rows := range want {
		shown := rowsOf(t, url, key, dataset)
		if len(shown) != len(rows) {
			t.Errorf("got %d %s, want %d", len(shown), dataset, len(rows))
		}
		for id, row := range rows {
			var got, plain doc
			if shown[id] == "" {
				t.Errorf("%s %s is missing", dataset, id)
				continue
			}
			noError(t, json.Unmarshal([]byte(shown[id]), &got))
			text, err := json.Marshal(row)
			noError(t, errors.Join(err, json.Unmarshal(text, &plain)))
			for field, value := range plain {
				if field == "user_id" {
					if _, present := got[field]; present {
						t.Errorf("the row contains its tenant: %s", shown[id])
					}
				} else if !reflect.DeepEqual(got[field], value) {
					t.Errorf("%s %s: got %s %#v, want %#v", dataset, id, field, got[field], value)
				}
			}
		}
	}
}

// feedCursors returns the cursors at the end of the change feeds of all datasets.
func feedCursors(t *testing.T, url, key string) (places string) {
	t.Helper()
	for _, dataset := range []string{"calls", "customers", "messages"} {
		var list struct {
			Meta struct {
				ResumeCursor string `json:"resume_cursor"`
				HasMore      bool   `json:"has_more"`
			}
		}
		status, body := get(t, url+"/api/v1/"+dataset+"?since=0&limit=100", key)
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 || list.Meta.HasMore {
			t.Fatal(status, body, err)
		}
		places += list.Meta.ResumeCursor + " "
	}
	return places
}

// ndjson returns rows as NDJSON, in the order of their ids.
func ndjson(t *testing.T, rows map[string]doc) []byte {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		noError(t, encoder.Encode(rows[id]))
	}
	return text.Bytes()
}

func fromPush(t *testing.T, to target) sourceFixture {
	key := createKey(t, to.data, to.tenant.String(), "secret")
	there := datasetDocs{"calls": {}, "customers": {}, "messages": {}}
	return sourceFixture{
		put: func(rows datasetDocs) {
			for dataset := range rows {
				maps.Copy(there[dataset], rows[dataset])
			}
		},
		pull: func() (total ingest.Summary) {
			for dataset := range there {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to.url+"/api/v1/ingest/"+dataset,
					bytes.NewReader(ndjson(t, there[dataset])))
				noError(t, err)
				request.Header.Set("X-Api-Key", key)
				request.Header.Set("Content-Type", "application/x-ndjson")
				response, err := http.DefaultClient.Do(request)
				noError(t, err)
				var answer struct{ Data ingest.Summary }
				noError(t, errors.Join(json.NewDecoder(response.Body).Decode(&answer), response.Body.Close()))
				if response.StatusCode != http.StatusOK {
					t.Fatalf("%d %+v", response.StatusCode, answer)
				}
				total.Add(answer.Data)
			}
			http.DefaultClient.CloseIdleConnections()
			return total
		},
	}
}

// fromFolder reads a folder. If it belongs to the tenant, its rows do not name their tenant.
func fromFolder(belongs bool) startFixture {
	return func(t *testing.T, to target) sourceFixture {
		incoming, puts, last, waiting := t.TempDir(), 0, time.Time{}, false
		spec := admin.SourceSpec{Kind: admin.Files, Path: incoming}
		if belongs {
			spec.Tenant = to.tenant
		}
		return sourceFixture{
			put: func(rows datasetDocs) {
				puts++
				for dataset := range rows {
					text := ndjson(t, rows[dataset])
					if belongs {
						text = bytes.ReplaceAll(text, []byte(`"user_id":"`+to.tenant.String()+`"`), []byte(`"extra":null`))
					}
					noError(t, os.WriteFile(filepath.Join(incoming, fmt.Sprintf("%s-%d.ndjson", dataset, puts)), text, 0o600))
				}
				last, waiting = time.Now(), true
			},
			pull: func() (total ingest.Summary) {
				until(t, "the files are read", func() bool {
					if time.Since(last) < 2*time.Second { // younger files are not read
						return false
					}
					summary, err := admin.Sync.Call(t.Context(), to.conn, spec)
					noError(t, err)
					total.Add(summary.Summary)
					return !waiting || total.Files == 3
				})
				waiting = false
				return total
			},
		}
	}
}

// fromFiles sends files of Parquet to the server.
func fromFiles(t *testing.T, to target) sourceFixture {
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	t.Cleanup(func() { noError(t, db.Close()) })
	dir, there := t.TempDir(), datasetDocs{"calls": {}, "customers": {}, "messages": {}}
	return sourceFixture{
		put: func(rows datasetDocs) {
			for dataset := range rows {
				maps.Copy(there[dataset], rows[dataset])
			}
		},
		pull: func() (total ingest.Summary) {
			for dataset, rows := range there {
				plain, path := filepath.Join(dir, "rows.ndjson"), filepath.Join(dir, dataset+".parquet")
				noError(t, os.WriteFile(plain, ndjson(t, rows), 0o600))
				_, err := db.ExecContext(t.Context(),
					fmt.Sprintf("COPY (FROM read_json_auto('%s', convert_strings_to_integers = false, maximum_depth = 1)) TO '%s'",
						plain, path))
				noError(t, err)
				summary, err := admin.Ingest(t.Context(), to.conn, []ingest.Input{
					{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}})
				noError(t, err)
				total.Add(summary)
			}
			return total
		},
	}
}

func fromVoicory(t *testing.T, to target) sourceFixture {
	theirs, theirKey, there := upstream(t, demo.Tenant{ID: to.tenant}, "--rate-limit", "none")
	return sourceFixture{
		put: func(rows datasetDocs) {
			for dataset := range rows {
				mustRun(t, string(ndjson(t, rows[dataset])), "ingest", "--data", there, "--dataset", dataset, "--strict", "-")
			}
		},
		pull: func() ingest.Summary {
			summary, err := admin.Sync.Call(t.Context(), to.conn, admin.SourceSpec{Kind: admin.Voicory,
				BaseURL: theirs + "/api/v1", APIKey: theirKey, Tenant: to.tenant, Window: 72 * time.Hour})
			noError(t, err)
			return summary.Summary
		},
	}
}

func fromPostgres(t *testing.T, to target) sourceFixture {
	database, db := newPlatform(t, "parity")
	exec := func(statement string, arguments ...any) {
		t.Helper()
		_, err := db.Exec(t.Context(), statement, arguments...)
		noError(t, err)
	}
	const config = "c0000000-0000-4000-8000-000000000001"
	exec("INSERT INTO whatsapp_configs VALUES ($1, $2)", config, to.tenant)
	tables := map[string]string{"calls": "call_logs", "customers": "customers", "messages": "whatsapp_messages"}
	return sourceFixture{
		put: func(rows datasetDocs) {
			for dataset, table := range tables {
				for id, row := range rows[dataset] {
					row := maps.Clone(row)
					row["config_id"] = config
					if row["updated_at"] == nil {
						row["updated_at"] = row["created_at"] // the platform does not update it when it writes costs
					}
					text, err := json.Marshal(row)
					noError(t, err)
					exec("DELETE FROM "+table+" WHERE id = $1", id)
					exec("INSERT INTO "+table+" SELECT * FROM jsonb_populate_record(NULL::"+table+", $1)", string(text))
				}
			}
		},
		pull: func() ingest.Summary {
			summary, err := admin.Sync.Call(t.Context(), to.conn, admin.SourceSpec{Kind: admin.Postgres,
				DSN: database.DSN("parity"), Window: 72 * time.Hour})
			noError(t, err)
			return summary.Summary
		},
	}
}
