package querytest

import (
	"strings"
	"testing"
)

// An Attack is a statement with its expected outcome: refused, harmless or bounded, see testdata/attacks.txt of package
// query.
type Attack struct{ Want, Note, SQL string }

// Attacks returns the attacks of the file, and some that are too long for it.
func Attacks(t testing.TB, name string) (all []Attack) {
	t.Helper()
	for _, line := range ReadStatements(t, name) {
		parts := strings.SplitN(line, " | ", 3)
		if len(parts) != 3 {
			t.Fatalf("invalid line: %s", line)
		}
		all = append(all, Attack{parts[0], parts[1], parts[2]})
	}
	return append(all,
		Attack{"bounded", "brackets nested deeply", "SELECT " + strings.Repeat("(", 100_000) + "1" +
			strings.Repeat(")", 100_000)},
		Attack{"bounded", "subqueries nested deeply", strings.Repeat("SELECT * FROM (", 5_000) + "SELECT 1" +
			strings.Repeat(")", 5_000)},
		Attack{"bounded", "lists nested deeply", "SELECT " + strings.Repeat("[", 5_000) + "1" + strings.Repeat("]", 5_000)},
		Attack{"bounded", "a document nested deeply", "SELECT json_extract('" + strings.Repeat("[", 400_000) + "', '$')"},
		Attack{"bounded", "a sum of many", "SELECT 1" + strings.Repeat("+1", 500_000)},
		Attack{"bounded", "many conditions", "SELECT 1 WHERE " + strings.Repeat("NOT ", 200_000) + "true"},
		Attack{"bounded", "a long list of values", "SELECT 1 WHERE 1 IN (" + strings.Repeat("1,", 500_000) + "1)"},
		Attack{"bounded", "many columns", "SELECT " + strings.Repeat("1,", 500_000) + "1"},
		Attack{"bounded", "many unions", strings.Repeat("SELECT 1 UNION ALL ", 50_000) + "SELECT 1"},
		Attack{"bounded", "one long name", "SELECT 1 AS \"" + strings.Repeat("x", 1<<20-20) + "\""},
		Attack{"refused", "many statements", strings.Repeat("SELECT 1;", 1_000)},
		// refused, unless parsing takes too long
		Attack{"bounded", "very many statements", strings.Repeat("SELECT 1;", 100_000)},
		Attack{"refused", "a zero byte that hides", "SELECT 1\x00; DROP VIEW calls"},
		Attack{"refused", "bytes that are no text", "SELECT '\xff\xfe' FROM \xc0\xaf"},
		Attack{"refused", "a mark of byte order", "\ufeffATTACH ':memory:' AS x"},
	)
}
