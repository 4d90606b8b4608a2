package analytics_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Every figure of transcripts equals the figure computed in Go from the turns, for each format of transcripts.
func TestAnalyze_Transcripts(t *testing.T) {
	w := openNew(t)
	type told struct {
		status string
		turns  []row
		timed  bool
	}
	r := rand.New(rand.NewPCG(5, 6))
	words := []string{"hello", "नमस्ते जी", "Straße\tzwei", "a\u00a0b  c", "कब?", "ok\u3000x"}
	groups := map[string][]told{}
	var rows []any
	for n := range 600 {
		at := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC).Add(time.Duration(r.IntN(72*60)) * time.Minute)
		s := told{status: []string{"completed", "failed"}[r.IntN(2)]}
		fields := row{"created_at": at, "status": s.status}
		shape, ms := r.IntN(6), 0
		for range r.IntN(5) {
			said := row{"speaker": []string{"AI", "Caller"}[r.IntN(2)], "text": words[r.IntN(len(words))], "ms": ms}
			ms += 500 + r.IntN(9000)
			s.turns = append(s.turns, said)
		}
		var listed []row
		var lines []string
		for _, said := range s.turns {
			role := map[any]string{"AI": "assistant", "Caller": "user"}[said["speaker"]]
			switch shape {
			case 0:
				listed = append(listed, row{"speaker": said["speaker"], "text": said["text"]})
			case 1:
				listed = append(listed, row{"role": role, "content": said["text"]})
			default:
				listed = append(listed, row{"role": role, "message": said["text"], "timestamp_ms": said["ms"]})
				s.timed = true
			}
			lines = append(lines, fmt.Sprint(role, ": ", said["text"]))
		}
		switch {
		case shape == 5 && len(lines) > 0:
			fields["transcript"], s.timed = strings.Join(lines, "\n"), false
		case shape == 4:
			fields["metadata"] = row{"transcript": listed}
		case len(listed) > 0:
			fields["transcript"] = listed
		}
		zone, err := time.LoadLocation("Europe/Berlin")
		noError(t, err)
		day := periodOf(at, zone, "day")
		groups[day] = append(groups[day], s)
		rows = append(rows, call(tenantA, n, fields))
	}
	merge(t, w, schema.Calls, rows[:400]...)
	_, err := w.Publish(t.Context()) // rows merged after this are not published
	noError(t, err)
	merge(t, w, schema.Calls, rows[400:]...)

	got := analyze(t, w, "transcripts", "Europe/Berlin", "day", schema.Filter{})
	if len(got) != len(groups) {
		t.Fatalf("got %d rows, want %d", len(got), len(groups))
	}
	for _, f := range got {
		var with, turns, completed, empty, longest float64
		spoken, lasted := map[any]float64{}, map[any]float64{}
		for _, s := range groups[*f.Period] {
			if s.status == "completed" {
				completed++
			}
			if len(s.turns) > 0 {
				with++
			} else if s.status == "completed" {
				empty++
			}
			turns += float64(len(s.turns))
			for i, said := range s.turns {
				spoken[said["speaker"]] += float64(len(strings.Fields(said["text"].(string))))
				if s.timed && i+1 < len(s.turns) {
					ms := float64(s.turns[i+1]["ms"].(int) - said["ms"].(int))
					lasted[said["speaker"]] += ms
					longest = max(longest, ms)
				}
			}
		}
		f.want(t, "calls", float64(len(groups[*f.Period])))
		f.want(t, "transcripts", with)
		f.want(t, "empty_share", ratio(empty, completed))
		f.want(t, "turns", turns)
		f.want(t, "words", spoken["AI"]+spoken["Caller"])
		f.want(t, "ai_words", spoken["AI"])
		f.want(t, "caller_words", spoken["Caller"])
		f.want(t, "ai_word_share", ratio(spoken["AI"], spoken["AI"]+spoken["Caller"]))
		f.want(t, "ai_time_share", ratio(lasted["AI"], lasted["AI"]+lasted["Caller"]))
		f.want(t, "longest_pause_seconds", longest/1000)
	}
}

// plainTerms returns the terms of a text. It does not use regular expressions.
func plainTerms(text string) (terms []string) {
	isLetter := func(c rune) bool { return unicode.In(c, unicode.L, unicode.M, unicode.N) }
	for _, word := range strings.FieldsFunc(strings.ToLower(text),
		func(c rune) bool { return !isLetter(c) && c != '\'' && c != '’' }) {
		// An apostrophe stands between two letters, and two of them between nothing.
		letters := []rune(word)
		begin := 0
		for i := 0; i <= len(letters); i++ {
			joined := i < len(letters) && (isLetter(letters[i]) || i > begin && i+1 < len(letters) && isLetter(letters[i-1]) &&
				isLetter(letters[i+1]))
			if joined {
				continue
			}
			if term := string(letters[begin:i]); strings.ContainsFunc(term,
				func(c rune) bool { return unicode.In(c, unicode.L) }) {
				terms = append(terms, term)
			}
			begin = i + 1
		}
	}
	return terms
}

// Terms equal those counted in Go in the same turns, for published and unpublished rows, by period and group.
func TestAnalyze_Terms(t *testing.T) {
	w := openNew(t)
	r := rand.New(rand.NewPCG(11, 12))
	vocabulary := []string{"the", "The", "refund", "REFUND", "नमस्ते", "don't", "don’t", "'quoted'", "''",
		"a''b", "42",
		"4th", "Straße", "ΣΟΦΊΑ", "e\u0301te", "x-y", "rare"}
	groups, transcripts := map[string]map[string][]int{}, map[string]int{} // of each term how often each call says it
	var rows []any
	for n := range 500 {
		at := time.Date(2026, time.Month(3+r.IntN(2)), 1+r.IntN(28), r.IntN(24), 0, 0, 0, time.UTC)
		direction := []string{"inbound", "outbound"}[r.IntN(2)]
		key := at.Format("2006-01") + "-01" + direction
		var said []row
		times := map[string]int{}
		for range r.IntN(4) {
			words := make([]string, 1+r.IntN(5))
			for i := range words {
				words[i] = vocabulary[r.IntN(len(vocabulary)-r.IntN(2))]
			}
			text := strings.Join(words, []string{" ", ", ", "\n"}[r.IntN(3)])
			said = append(said, row{"speaker": "AI", "text": text})
			for _, term := range plainTerms(text) {
				times[term]++
			}
		}
		if len(said) > 0 {
			transcripts[key]++
		}
		if groups[key] == nil {
			groups[key] = map[string][]int{}
		}
		for term, count := range times {
			groups[key][term] = append(groups[key][term], count)
		}
		rows = append(rows, call(tenantA, n, row{"created_at": at, "direction": direction, "transcript": said}))
	}
	merge(t, w, schema.Calls, rows[:350]...)
	_, err := w.Publish(t.Context())
	noError(t, err)
	merge(t, w, schema.Calls, rows[350:]...)

	const most, share = 5, 0.4
	analysis := analytics.Analysis{Report: reportNamed(t, "transcripts/terms"), Zone: time.UTC, Interval: "month",
		GroupBy: []string{"direction"}, Terms: most, MaxShare: share}
	found, err := analytics.Analyze(t.Context(), w, tenantA, analysis)
	noError(t, err)
	defer func() { noError(t, found.Close()) }()
	got, err := found.AppendJSON(t.Context(), nil, false)
	noError(t, err)
	var want []string
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		terms := slices.DeleteFunc(slices.Collect(maps.Keys(groups[key])), func(term string) bool {
			return float64(len(groups[key][term])) > share*float64(transcripts[key])
		})
		slices.SortFunc(terms, func(a, b string) int {
			return cmp.Or(len(groups[key][b])-len(groups[key][a]), cmp.Compare(a, b))
		})
		for _, term := range terms[:most] {
			sum := 0
			for _, count := range groups[key][term] {
				sum += count
			}
			const object = `{"period":%q,"group":{"direction":%q},"term":%q,"calls":%d,"share":%v,"occurrences":%d}`
			want = append(want, fmt.Sprintf(object,
				key[:10], key[10:], term, len(groups[key][term]), float64(len(groups[key][term]))/float64(transcripts[key]), sum))
		}
	}
	if wanted := "[" + strings.Join(want, ",") + "]"; len(want) != 4*most || string(got) != wanted {
		t.Errorf("got terms\n%s\nwant\n%s", got, wanted)
	}
}
