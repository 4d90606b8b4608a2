package values

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestReplaceSurrogates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"cut \ud83d"`: `"cut \ufffd"`, `"\uD83D\uDE00"`: `"\uD83D\uDE00"`, `"\ude00\ud83d"`: `"\ufffd\ufffd"`,
		`"\\ud83d"`: `"\\ud83d"`, `"\\\ud83d"`: `"\\\ufffd"`, `"\ud83d\ud83d\ude00"`: `"\ufffd\ud83d\ude00"`,
		`"\ud83d\n"`: `"\ufffd\n"`, `"\ud8"`: `"\ud8"`, `"\`: `"\`, `\ud83d`: `\ufffd`, `{}`: `{}`,
	} {
		got := []byte(text)
		if ReplaceSurrogates(got); string(got) != want {
			t.Errorf("ReplaceSurrogates(%s): got %s, want %s", text, got, want)
		}
	}
}

// Text is always UTF-8, and JSON with escapes of any code units means the same to Go before and after.
func TestText_AnyBytesBecomeUTF8(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOf(rapid.SampledFrom([]byte{'a', 0xED, 0xA0, 0xBD, 0xB8, 0x80, 0xC3, 0xA9, 0xFF})).Draw(t,
			"bytes")
		text, valid := Text(content)
		if !utf8.ValidString(text) || utf8.Valid(content) && (text != string(content) || !valid) {
			t.Fatalf("Text(%x): got %q, %v", content, text, valid)
		}
		escapes := rapid.SliceOf(rapid.SampledFrom([]string{`\ud83d`, `\uDE00`, `\\`, `\n`, `u`, `d83d`, `x`,
			`\u0041`})).Draw(t, "text")
		document := `"` + strings.Join(escapes, "") + `"`
		replaced := []byte(document)
		ReplaceSurrogates(replaced)
		var before, after string
		if json.Unmarshal([]byte(document), &before) != nil || json.Unmarshal(replaced, &after) != nil || before != after {
			t.Fatalf("%s: got %q, want %q", document, after, before)
		}
	})
}

func TestFiniteJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a":NaN,"b":[-Infinity,Infinity,1]}`: `{"a":null,"b":[null,null,1]}`,
		`{"NaN":"x\" NaN","y":NaN}`:            `{"NaN":"x\" NaN","y":null}`,
		`NaN`:                                  `null`,
		`"\\"`:                                 `"\\"`,
	} {
		if got := FiniteJSON(text); got != want {
			t.Errorf("FiniteJSON(%s): got %s, want %s", text, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"138": 138, "67.5": 67.5, "2m 18s": 138, "2m18s": 138, "1h 2m": 3720, "45s": 45, "45 s": 45, "02:18": 138,
		"1:02:03":   3723,
		"1:02:03.5": 3723.5, "PT2M18S": 138, "PT67.5S": 67.5, "P0DT0H1M7S": 67, "0 days 00:01:07": 67,
		"1 day, 0:00:01": 86401, "0 days 00:01:07.250000": 67.25, "2 min 18 sec": 138, "1 hour 2 minutes": 3720,
		"2 Minutes, 18 Seconds": 138, "1e2": 100,
	} {
		if got, ok := ParseDuration(text); !ok || got != want {
			t.Errorf("ParseDuration(%q): got %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", " ", "p", "pt", "soon", "1:2", "m", "1..2s", "-", "2026-03-01", "s 5"} {
		if got, ok := ParseDuration(text); ok {
			t.Errorf("ParseDuration(%q): got %v, want none", text, got)
		}
	}
}

// A number of seconds is itself, and hours, minutes and seconds are added.
func TestParseDuration_Sums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, m, s := rapid.IntRange(0, 30).Draw(t, "h"), rapid.IntRange(0, 59).Draw(t, "m"), rapid.IntRange(0, 59).Draw(t, "s")
		want := float64(h*3600 + m*60 + s)
		two := func(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }
		number := func(n int, unit string) string { return strconv.Itoa(n) + unit }
		for _, text := range []string{
			number(h, "h ") + number(m, "m ") + number(s, "s"), number(h, ":") + two(m) + ":" + two(s),
			"PT" + number(h, "H") + number(m, "M") + number(s, "S"), strconv.FormatFloat(want, 'f', -1, 64),
		} {
			if got, ok := ParseDuration(text); !ok || math.Abs(got-want) > 1e-9 {
				t.Fatalf("ParseDuration(%q): got %v, %v, want %v", text, got, ok, want)
			}
		}
	})
}
