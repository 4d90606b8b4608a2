package encode

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStatistics_BoundsAreBelowAndAbove(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabets := []string{"az", "\x7f\x7e", "é\u07ff", "\ud7ff\uffff", "\U0010ffff\U0010fffe", "\xff\x00\xfe",
		"a\U0010ffff"}
	for range 20_000 {
		var value []byte
		alphabet := alphabets[rng.IntN(len(alphabets))]
		runes := []string{}
		if utf8.ValidString(alphabet) {
			runes = strings.Split(alphabet, "")
		} else {
			for i := range len(alphabet) {
				runes = append(runes, alphabet[i:i+1])
			}
		}
		for n := rng.IntN(150); len(value) < n; {
			value = append(value, runes[rng.IntN(len(runes))]...)
		}
		lower := lowerBound(value)
		upper, ok := upperBound(value)
		if len(lower) > maxStatistic || bytes.Compare(lower, value) > 0 || ok &&
			(len(upper) > maxStatistic || bytes.Compare(upper, value) < 0) {
			t.Fatalf("bounds of %q: got %q and %q", value, lower, upper)
		}
		if utf8.Valid(value) && (!utf8.Valid(lower) || !utf8.Valid(upper)) {
			t.Fatalf("bounds of the text %q: got %q and %q", value, lower, upper)
		}
	}
	for _, highest := range []string{strings.Repeat("\xff", 65), strings.Repeat("\U0010ffff", 17)} {
		if bound, ok := upperBound([]byte(highest)); ok {
			t.Errorf("got the upper bound %q of %q", bound, highest)
		}
	}
}
