package warehouse_test

import (
	"encoding/csv"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

// A CSV reader reads the result of csv_field back as the text. Quotes are used only if necessary, and NULL is an
// empty field.
func TestCSVField_RoundTrip(t *testing.T) {
	w := openNew(t)
	merge(t, w, warehouse.Calls, call(tenantA, 1, nil))
	snapshot, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	defer func() { noError(t, snapshot.Close()) }()
	texts := []string{"", " ", "twelve bytes", "thirteen byte", `"`, `""`, `a"b`, "a,b", "a\nb", "a\rb", "नमस्ते, दुनिया", strings.Repeat(`{"a":"b"},`, 500), "plain " + strings.Repeat("text ", 1000), "'=1"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		text := ""
		for range random.IntN(30) {
			text += []string{`"`, ",", "\n", "\r", "a", "é", "दु", " "}[random.IntN(8)]
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		var field, among string
		// Among others, so that its place is none of a vector's first, and beside NULL.
		noError(t, snapshot.Conn.QueryRowContext(t.Context(), `SELECT csv_field($1), (SELECT string_agg(csv_field(text), '|' ORDER BY place)
			FROM (SELECT place, CASE place % 3 WHEN 0 THEN $1 WHEN 1 THEN NULL ELSE 'x' END AS text FROM range(3000) AS r(place)))`, text).Scan(&field, &among))
		if among != strings.TrimSuffix(strings.Repeat(field+"||x|", 1000), "|") {
			t.Fatalf("%q is %q, and another among others", text, field)
		}
		if must := text == "" || strings.ContainsAny(text, ",\"\r\n"); must != strings.HasPrefix(field, `"`) {
			t.Fatalf("%q became %q", text, field)
		}
		read, err := csv.NewReader(strings.NewReader("x," + field + "\n")).ReadAll()
		noError(t, err)
		if len(read) != 1 || len(read[0]) != 2 || read[0][1] != strings.ReplaceAll(text, "\r\n", "\n") { // which Go's reader makes of it
			t.Fatalf("%q became %q", text, field)
		}
	}
}
