package schema

import (
	"slices"
	"strings"
	"testing"
)

func TestHeaders_MatchFields(t *testing.T) {
	for headers, want := range map[string]string{
		"id,created_at,summary":          "id,created_at,summary",
		"ID,Created_At,SUMMARY":          "id,created_at,summary",
		"Id,Created At,mood":             "id,created_at,",
		" id ,createdAt,created-by":      "id,created_at,",
		"Call SID,callSid2,":             "call_sid,,",
		"created_at,Created_At,mood":     "created_at,,",
		"createdAt,CREATED_AT,id":        ",created_at,id",
		"Created At,id,created at":       "error",
		"id,id,summary":                  "error",
		"STT Minutes,ttsCharacters,Cost": "stt_minutes,tts_characters,cost",
	} {
		fields, err := Calls.Headers(strings.Split(headers, ","))
		got := strings.Join(fields, ",")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %s (%v), want %s", headers, got, err, want)
		}
	}
}

// No two fields of a dataset match the same header.
func TestHeaders_FieldsDiffer(t *testing.T) {
	for _, dataset := range Datasets {
		var names []string
		for _, name := range dataset.acceptedFields() {
			names = append(names, letters(name))
		}
		slices.Sort(names)
		if distinct := slices.Compact(slices.Clone(names)); len(distinct) != len(names) {
			t.Errorf("%s: got fields %v, two of which match one header", dataset.Name, names)
		}
	}
}
