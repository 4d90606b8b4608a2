package warehouse_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// Every figure of transcripts is what Go makes of the turns that they were written from, in each of their shapes.
func TestFiguresOfTranscripts(t *testing.T) {
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
	merge(t, w, warehouse.Calls, rows...)

	got := analyze(t, w, "transcripts", "Europe/Berlin", "day", warehouse.Filter{})
	if len(got) != len(groups) {
		t.Fatalf("%d rows, not %d", len(got), len(groups))
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
