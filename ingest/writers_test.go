package ingest_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// writers is the folder of files that other libraries wrote, each with the rows of rows.ndjson. Its scripts write them.
const writers = "testdata/writers"

// A writtenCall is a call of rows.ndjson with the types that a Go program would use.
type writtenCall struct {
	ID              string          `json:"id" parquet:"id"`
	Direction       string          `json:"direction" parquet:"direction,dict"`
	Status          string          `json:"status" parquet:"status"`
	FromNumber      *string         `json:"from_number" parquet:"from_number"`
	ToNumber        *string         `json:"to_number" parquet:"to_number"`
	Duration        *string         `json:"duration" parquet:"duration"`
	DurationSeconds *int32          `json:"duration_seconds" parquet:"duration_seconds"`
	Cost            *float64        `json:"cost" parquet:"cost"`
	Summary         *string         `json:"summary" parquet:"summary"`
	Transcript      json.RawMessage `json:"transcript" parquet:"transcript,optional,json"`
	StartedAt       *time.Time      `json:"started_at" parquet:"started_at,optional,timestamp(microsecond)"`
	CreatedAt       time.Time       `json:"created_at" parquet:"created_at,timestamp(nanosecond)"`
	Metadata        json.RawMessage `json:"metadata" parquet:"metadata,optional,json"`
	STTMinutes      *float64        `json:"stt_minutes" parquet:"stt_minutes"`
	TTSCharacters   *int64          `json:"tts_characters" parquet:"tts_characters"`
}

// writtenByGo returns the rows as files of Go libraries, by name.
func writtenByGo(t *testing.T, ndjson []byte) map[string][]byte {
	t.Helper()
	var calls []writtenCall
	var records [][]string
	var lines bytes.Buffer
	for line := range bytes.Lines(ndjson) {
		var call writtenCall
		noError(t, json.Unmarshal(line, &call))
		calls = append(calls, call)
		noError(t, json.NewEncoder(&lines).Encode(call))
		text := func(value any) string {
			marshalled, err := json.Marshal(value)
			noError(t, err)
			var plain string
			if json.Unmarshal(marshalled, &plain) == nil {
				return plain
			}
			return string(marshalled)
		}
		records = append(records, []string{call.ID, call.Direction, call.Status, text(call.FromNumber), text(call.ToNumber),
			text(call.Duration),
			text(call.DurationSeconds), text(call.Cost), text(call.Summary), text(call.Transcript), text(call.StartedAt),
			text(call.CreatedAt),
			text(call.Metadata), text(call.STTMinutes), text(call.TTSCharacters)})
	}
	var table, plain bytes.Buffer
	writer := parquet.NewGenericWriter[writtenCall](&table, parquet.Compression(&parquet.Lz4Raw))
	_, err := writer.Write(calls)
	noError(t, err)
	noError(t, writer.Close())
	rows := csv.NewWriter(&plain)
	noError(t, rows.Write(strings.Split(
		"id,direction,status,from_number,to_number,duration,duration_seconds,cost,summary,transcript,started_at,"+
			"created_at,metadata,stt_minutes,tts_characters", ",")))
	noError(t, rows.WriteAll(records))
	array, err := json.MarshalIndent(calls, "", "\t")
	noError(t, err)
	page, err := json.Marshal(map[string]any{"data": calls, "meta": map[string]int{"page": 1}})
	noError(t, err)
	return map[string][]byte{"go.parquet": table.Bytes(), "go.csv": plain.Bytes(), "go.ndjson": lines.Bytes(),
		"go.json":      array,
		"go-page.json": page}
}

// writtenFiles returns the files of all writers, by name.
func writtenFiles(t *testing.T) (ndjson []byte, files map[string][]byte) {
	t.Helper()
	ndjson, err := os.ReadFile(filepath.Join(writers, "rows.ndjson"))
	noError(t, err)
	files = writtenByGo(t, ndjson)
	entries, err := os.ReadDir(writers)
	noError(t, err)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "make.") || strings.HasSuffix(entry.Name(), ".txt") {
			continue
		}
		files[entry.Name()], err = os.ReadFile(filepath.Join(writers, entry.Name()))
		noError(t, err)
	}
	return ndjson, files
}

// Files of every writer, in every format and codec, hold the same rows: loading one after another changes nothing.
func TestLoad_EveryWriter(t *testing.T) {
	t.Parallel()
	ndjson, files := writtenFiles(t)
	if len(files) < 40 {
		t.Fatalf("got %d files, want at least 40", len(files))
	}
	w := openNew(t)
	wantCounts(t, load(t, w, ingest.Input{Name: "calls.ndjson", Tenant: tenant.ID, Body: bytes.NewReader(ndjson)}),
		schema.Counts{Read: 3, New: 3})
	for i, name := range slices.Sorted(maps.Keys(files)) {
		t.Run(name, func(t *testing.T) {
			in := ingest.Input{Name: name, Body: bytes.NewReader(files[name])}
			if codec := []string{"", ".gz", ".zst", "plain"}[i%4]; codec != "plain" { // as a push, in one of the codecs
				in = ingest.Input{Name: name + codec, Throttled: true, Bounds: ingest.Bounds{Bytes: 1 << 20, Refused: 10},
					Body: bytes.NewReader(packed(t, codec, files[name]))}
			}
			if in.Dataset, in.Tenant = "calls", tenant.ID; strings.Contains(name, ".csv.") || strings.Contains(name, ".json.") {
				in.Body = bytes.NewReader(files[name])
			}
			if summary := load(t, w, in); summary.Unchanged != 3 || summary.Read != 3 || len(summary.Unknown) > 0 {
				t.Errorf("%s: got %+v, want three unchanged rows", in.Name, summary)
				// for the next file
				load(t, w, ingest.Input{Name: "calls.ndjson", Tenant: tenant.ID, Body: bytes.NewReader(ndjson)})
			}
		})
	}
}
