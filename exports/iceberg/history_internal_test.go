package iceberg

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse"
)

// A model of publications gives the history: each snapshot has the files that were current after its publication.
func TestHistoryOf_EachListedSnapshotHasTheFilesOfItsPublication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
		at := now.Add(-100 * time.Minute)
		pause := rapid.SampledFrom([]time.Duration{time.Microsecond, 20 * time.Minute, 35 * time.Minute})
		current := map[string]int{} // index of the current file of each month
		var files []warehouse.TableFile
		states, times := map[int64][]string{}, []time.Time{}
		for n := range rapid.IntRange(0, 8).Draw(t, "publications") {
			at = at.Add(pause.Draw(t, "pause"))
			changed := false
			for _, month := range rapid.SliceOfNDistinct(rapid.IntRange(1, 4), 1, 3, rapid.ID).Draw(t, "months") {
				key := fmt.Sprintf("2026-%02d", month)
				if i, ok := current[key]; ok {
					files[i].ReplacedAt, changed = at, true
					delete(current, key)
				}
				if rapid.Bool().Draw(t, "has rows") {
					f := warehouse.TableFile{PublishedAt: at}
					f.Month, f.Name = key, fmt.Sprintf("%s-%d", key, n)
					current[key], changed = len(files), true
					files = append(files, f)
				}
			}
			if !changed {
				continue
			}
			names := []string{}
			for _, i := range current {
				names = append(names, files[i].Name)
			}
			slices.Sort(names)
			states[at.UnixMicro()], times = names, append(times, at)
		}
		removed := rapid.IntRange(-1, len(files)-1).Draw(t, "removed file")
		if removed >= 0 && !files[removed].ReplacedAt.IsZero() {
			files[removed].Gone = true
		}
		var want []string
		for i, at := range times {
			expired := i < len(times)-1 && now.Sub(times[i+1]) >= time.Hour
			gone := removed >= 0 && files[removed].Gone && slices.Contains(states[at.UnixMicro()], files[removed].Name)
			if !expired && !gone {
				want = append(want, fmt.Sprint(at.UnixMicro(), states[at.UnixMicro()]))
			}
		}
		var got []string
		for _, s := range historyOf(files, now) {
			names := []string{}
			for _, f := range s.files {
				names = append(names, f.Name)
			}
			slices.Sort(names)
			got = append(got, fmt.Sprint(s.id(), names))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestBounds_TruncatedTextsEncloseTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'ÿ', 0xD7FF, 0xE000, 0x10FFFF, 'z'}), 0, 40, -1).Draw(t,
			"text"))
		lower, upper := truncateLower(text), truncateUpper(text)
		if bytes.Compare(lower, text) > 0 || upper != nil && bytes.Compare(upper, text) < 0 ||
			!utf8.Valid(lower) || !utf8.Valid(upper) || utf8.RuneCount(lower) > boundLength {
			t.Fatalf("got bounds %q and %q of %q", lower, upper, text)
		}
	})
}

func TestBounds_NumbersAreComparedAndShortenedAsSigned(t *testing.T) {
	value := func(encoded []byte) *big.Int {
		n := new(big.Int).SetBytes(encoded)
		if encoded[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(encoded))))
		}
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7F, 0x80, 0xFF}), 16, 16)
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if got, want := compareSigned(a, b), value(a).Cmp(value(b)); got != want {
			t.Errorf("compare %x with %x: got %d, want %d", a, b, got, want)
		}
		if short := shortest(a); value(short).Cmp(value(a)) != 0 {
			t.Errorf("got %x for %x", short, a)
		}
	})
}
