package duckdb_test

import (
	"encoding/csv"
	"math/rand/v2"
	"strings"
	"testing"
)

// A CSV reader reads the result of csv_field back as the text. Quotes are used only if necessary, and NULL is an
// empty field.
func TestCSVField_RoundTrip(t *testing.T) {
	db := openInstance(t).DB("")
	defer db.Close()
	texts := []string{"", " ", "twelve bytes", "thirteen byte", `"`, `""`, `a"b`, "a,b", "a\nb", "a\rb",
		"नमस्ते, दुनिया", strings.Repeat(`{"a":"b"},`, 500), "plain " + strings.Repeat("text ", 1000),
		"'=1"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		text := ""
		for range random.IntN(30) {
			text += []string{`"`, ",", "\n", "\r", "a", "é", "दु", " "}[random.IntN(8)]
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		var field, fields string
		// The second column has the text at many places of a vector, beside NULL and a constant.
		noError(t, db.QueryRowContext(t.Context(), `SELECT csv_field($1),
				(SELECT string_agg(csv_field(text), '|' ORDER BY place)
				 FROM (SELECT place, CASE place % 3 WHEN 0 THEN $1 WHEN 1 THEN NULL ELSE 'x' END AS text
				       FROM range(3000) AS r(place)))`, text).Scan(&field, &fields))
		if fields != strings.TrimSuffix(strings.Repeat(field+"||x|", 1000), "|") {
			t.Fatalf("text %q: got %q alone, and another field within a vector", text, field)
		}
		if quoted := text == "" || strings.ContainsAny(text, ",\"\r\n"); quoted != strings.HasPrefix(field, `"`) {
			t.Fatalf("text %q: got field %s, want quotes: %t", text, field, quoted)
		}
		read, err := csv.NewReader(strings.NewReader("x," + field + "\n")).ReadAll()
		noError(t, err)
		want := strings.ReplaceAll(text, "\r\n", "\n") // as Go's CSV reader does
		if len(read) != 1 || len(read[0]) != 2 || read[0][1] != want {
			t.Fatalf("field %s: got %q, want %q", field, read, want)
		}
	}
}
