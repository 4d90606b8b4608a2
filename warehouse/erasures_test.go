package warehouse

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/erasure"
)

// A key of an erased number is among those that the statements compute for every spelling of it.
func TestNumberKeys_AgreeWithTheStatements(t *testing.T) {
	t.Parallel()
	w := openForStaging(t)
	stored := func(r *rapid.T, text string) []string {
		rows, err := queryTexts(context.Background(), w.loader, "SELECT coalesce(unnest(memory.main.number_keys($1)), '')",
			text)
		if err != nil {
			r.Fatal(err)
		}
		return rows
	}
	separators := []string{"", "", "", " ", "-", ".", "(", ")", "/", "\u00a0", "\u2011"}
	limitChecks(t, 60)
	rapid.Check(t, func(r *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{6,14}`).Draw(r, "digits")
		spelling := func(name string) string {
			var out strings.Builder
			out.WriteString(rapid.SampledFrom([]string{"", "+", "00", "tel:", "whatsapp:+", " "}).Draw(r, name))
			for _, digit := range digits {
				out.WriteString(rapid.SampledFrom(separators).Draw(r, name) + string(digit))
			}
			return out.String()
		}
		typed, written := spelling("typed"), spelling("written")
		keys := stored(r, written)
		if !slices.ContainsFunc(erasure.NumberKeys(typed), func(k erasure.Key) bool {
			return slices.Contains(keys, string(k))
		}) {
			r.Fatalf("%q has the keys %q, and %q has %q", typed, erasure.NumberKeys(typed), written, keys)
		}
		name := rapid.StringMatching(`[a-z]{3,9}(:[a-z]{1,5}(@example\.com)?)?`).Draw(r, "name")
		if got := stored(r, " "+name); !slices.Contains(got, string(erasure.NumberKeys(name)[0])) {
			r.Fatalf("%q has the keys %q and %q", name, erasure.NumberKeys(name), got)
		}
	})
}
