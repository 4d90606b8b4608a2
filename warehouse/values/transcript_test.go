package values

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTurns_Examples(t *testing.T) {
	t.Parallel()
	const two = "Caller|hi|;AI|yo|" // speaker, text, milliseconds
	for _, test := range []struct{ transcript, want string }{
		{`["Caller: hi", "AI: yo"]`, two},
		{`["hi", "yo"]`, "|hi|;|yo|"},
		{`[["Caller", "hi"], ["AI", "yo"]]`, two},
		{`[{"speaker": "Caller", "text": "hi"}, {"speaker": "AI", "text": "yo"}]`, two},
		{`[{"Speaker": "Caller", "Text": "hi"}, {"SPEAKER": "AI", "TEXT": "yo"}]`, two},
		{`[{"role": "Caller", "parts": ["hi"]}, {"role": "AI", "parts": [{"text": "yo"}]}]`, two},
		{`[{"role": "Caller", "content": [{"type": "text", "text": "hi"}]}, {"role": "AI", "content": "yo"}]`, two},
		{`[{"role": "Caller", "content": ["hi", "there"]}]`, "Caller|hi there|"},
		{`{"messages": [{"role": "Caller", "content": "hi"}, {"role": "AI", "content": "yo"}]}`, two},
		{`{"results": {"utterances": [{"speaker": 0, "transcript": "hi"}]}}`, "0|hi|"},
		{`{"choices": 1}`, "unknown 1"},
		{`[{"message": {"role": "AI", "content": "yo"}}]`, "AI|yo|"},
		{`[{"sender_name": "x", "from": "AI", "body": "yo"}]`, "AI|yo|"},
		{`[{"role": "AI", "content": null, "tool_calls": []}]`, "AI||"},
		{`[{"text": 12.0}, {"text": 1e3}]`, "|12|;|1000|"},
		{`[{"text": "hi", "start": 1.25}, {"text": "yo", "start": 3}]`, "|hi|1250;|yo|3000"},
		{`[{"text": "hi", "start": 1250}, {"text": "yo", "start": 100000}]`, "|hi|1250;|yo|100000"},
		{`[{"text": "hi", "timestamp": 0}, {"text": "yo", "timestamp": 1500}]`, "|hi|0;|yo|1500"},
		{`[{"text": "hi", "timestamp": 0.0}, {"text": "yo", "timestamp": 1.5}]`, "|hi|0;|yo|1500"},
		{`[{"text": "hi", "timestamp_ms": "1500.0"}]`, "|hi|1500"},
		{`[{"text": "hi", "timestamp": "2026-03-01T10:00:00Z"}]`, "|hi|1772359200000"},
		{`[{"text": "hi", "timestamp": "00:01:07"}]`, "|hi|67000"},
		{`[{"text": "hi", "timestamp": 1772359200}]`, "|hi|1772359200000"},
		{`[{"text": "hi", "timestamp": 1772359200123}]`, "|hi|1772359200123"},
		{`[]`, ""}, {`[null]`, ""}, {`{}`, "unknown 1"}, {`[1, {"text": "hi"}, {"x": 1}]`, "|hi|;unknown 2"},
		{`[`, "unknown 1"},
	} {
		text, unknown := Turns(test.transcript)
		var turns []struct {
			Speaker, Text string
			Millis        *int64 `json:"timestamp_ms"`
		}
		if err := json.Unmarshal([]byte(text), &turns); err != nil {
			t.Fatalf("%s: %v", test.transcript, err)
		}
		var parts []string
		for _, one := range turns {
			millis := ""
			if one.Millis != nil {
				millis = strconv.FormatInt(*one.Millis, 10)
			}
			parts = append(parts, one.Speaker+"|"+one.Text+"|"+millis)
		}
		if unknown > 0 {
			parts = append(parts, "unknown "+strconv.Itoa(unknown))
		}
		if got := strings.Join(parts, ";"); got != test.want {
			t.Errorf("%s: got %s, want %s", test.transcript, got, test.want)
		}
	}
}

// Every shape of the same conversation has the same turns.
func TestTurns_EveryShape(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		said := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9 .\[{]{1,12}[a-z]`), 1, 5).Draw(t, "texts")
		speakerField := rapid.SampledFrom([]string{"speaker", "Speaker", "role", "from", "speaker_name"}).Draw(t, "speaker")
		textField := rapid.SampledFrom([]string{"text", "Text", "content", "message", "parts", "body"}).Draw(t, "text")
		shape := rapid.IntRange(0, 4).Draw(t, "shape")
		var list []any
		for _, text := range said {
			var value any = text
			switch shape {
			case 1:
				value = []any{text}
			case 2:
				value = []any{map[string]any{"type": "text", "text": text}}
			}
			if shape == 3 {
				list = append(list, "AI: "+text)
			} else {
				list = append(list, map[string]any{speakerField: "AI", textField: value})
			}
		}
		var whole any = list
		if shape == 4 {
			whole = map[string]any{"messages": list}
		}
		transcript, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var turns []turn
		text, unknown := Turns(string(transcript))
		if json.Unmarshal([]byte(text), &turns) != nil || unknown > 0 || len(turns) != len(said) {
			t.Fatalf("%s: got %s, %d unknown", transcript, text, unknown)
		}
		for i, one := range turns {
			if one.Text == nil || *one.Text != said[i] || one.Speaker == nil || *one.Speaker != "AI" {
				t.Fatalf("%s: got %s", transcript, text)
			}
		}
	})
}
