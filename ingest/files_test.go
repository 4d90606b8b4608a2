package ingest

import "testing"

func TestNames_FormatAndDataset(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"calls.ndjson.gz":              "ndjson calls",
		"dump/calls-2026-01.jsonl":     "ndjson calls",
		"call_logs.parquet":            "parquet calls",
		"whatsapp_messages.CSV.zst":    "csv messages",
		"Customers.ndjson":             "ndjson customers",
		"customer calls.csv":           "csv ?",
		"recalls.csv":                  "csv ?",
		"calls.xlsx":                   "? calls",
		"calls.json.gz":                "json calls",
		"messages.arrow":               "arrow messages",
		"customers.ARROWS.zst":         "arrow customers",
		"calls.feather.bz2":            "arrow calls",
		"calls.ipc":                    "arrow calls",
		"calls.tsv":                    "csv calls",
		"calls":                        "? calls",
		"-":                            "ndjson ?",
		"messages/2026/export.parquet": "parquet ?",
		"calls.parquet/part-00000-4f1c.c000.snappy.parquet": "parquet calls",
		"x/Customers.csv/part-1.csv":                        "csv customers",
		"./export.parquet":                                  "parquet ?",
	} {
		format, dataset := "?", "?"
		if f, err := formatFromName(name); err == nil {
			format = string(f)
		}
		if d, err := datasetFromName(name); err == nil {
			dataset = d.Name
		}
		if got := format + " " + dataset; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
