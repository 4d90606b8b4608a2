package values

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// A turn is one turn of a transcript, as [Turns] writes it.
type turn struct {
	Speaker *string `json:"speaker"`
	Text    *string `json:"text"` // nil for a turn without words
	// Millis is an offset from the start of the call, or a time since 1970, in milliseconds.
	Millis *int64 `json:"timestamp_ms"`

	number   float64 // the time as a number of unknown unit, if isNumber
	isNumber bool
	inMillis bool // an integer of this key is in milliseconds unless another turn has decimals
}

// Turns returns the turns of a transcript in JSON as a JSON list of objects with speaker, text and timestamp_ms, and
// the number of its parts that are not turns. It reads lists of objects and texts, objects that hold such a list, and
// texts in parts. Names of fields match in any case, with or without separators. A time is in milliseconds if the name
// of its field says so. Otherwise the times of a transcript are in seconds if one has decimals or they are within a
// day.
func Turns(transcript string) (turns string, unknown int) {
	decoder := json.NewDecoder(strings.NewReader(transcript))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return "[]", 1
	}
	var r turnReader
	r.read(value, 0)
	r.setTimes()
	text, err := json.Marshal(r.turns)
	if err != nil || r.turns == nil {
		return "[]", r.unknown
	}
	return string(text), r.unknown
}

// Names of fields, in lower case and without marks, in the order of preference.
var (
	speakerFields = []string{"speaker", "role", "speakername", "speakerlabel", "author", "sender", "from", "participant",
		"name", "source"}
	textFields = []string{"text", "content", "message", "transcript", "utterance", "body", "parts", "sentence", "value",
		"msg", "alternatives", "transcription"}
	listFields = []string{"messages", "turns", "transcript", "segments", "utterances", "items", "conversation", "history",
		"entries", "dialogue", "lines", "chunks", "results", "transcripts", "data"}
	millisFields = []string{"timestampms", "startms", "offsetms", "starttimems", "timems", "startoffsetms"}
	timeFields   = []string{"timestamp", "start", "starttime", "time", "offset", "begin", "createdat", "startoffset"}
)

// maxTurnDepth is the greatest depth of lists and objects around a turn.
const maxTurnDepth = 6

// A turnReader collects the turns of a transcript.
type turnReader struct {
	turns   []turn
	unknown int
}

// read adds the turns of a value: a list, an object around a list, a turn, or a text.
func (r *turnReader) read(value any, depth int) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		r.turns = append(r.turns, textTurn(v))
		return
	case []any:
		if depth > maxTurnDepth {
			break
		}
		if speaker, text, ok := pair(v); ok && depth > 0 {
			r.turns = append(r.turns, turn{Speaker: &speaker, Text: &text})
			return
		}
		for _, item := range v {
			r.read(item, depth+1)
		}
		return
	case map[string]any:
		fields := plainNames(v)
		if one, ok := objectTurn(fields); ok {
			r.turns = append(r.turns, one)
			return
		}
		for _, name := range listFields {
			if inner := fields[name]; depth <= maxTurnDepth && isContainer(inner) {
				r.read(inner, depth+1)
				return
			}
		}
	}
	r.unknown++
}

// isContainer reports whether a value is a list or an object.
func isContainer(value any) bool {
	switch value.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

// pair returns the speaker and the text of a list of two texts, such as ["AI", "hello"].
func pair(list []any) (speaker, text string, ok bool) {
	if len(list) != 2 {
		return "", "", false
	}
	speaker, isText := list[0].(string)
	text, ok = list[1].(string)
	return speaker, text, ok && isText && knownSpeaker.MatchString(speaker)
}

const speakerNames = `ai|assistant|agent|bot|caller|user|customer|human`

var (
	knownSpeaker  = regexp.MustCompile(`(?i)^\s*(?:` + speakerNames + `)\s*$`)
	speakerPrefix = regexp.MustCompile(`(?is)^\s*(` + speakerNames + `)[ \t]*:[ \t]?(.*)$`)
)

// textTurn returns the turn of a text, which may begin with the speaker: "Caller: hello".
func textTurn(text string) turn {
	if m := speakerPrefix.FindStringSubmatch(text); m != nil {
		return turn{Speaker: &m[1], Text: &m[2]}
	}
	return turn{Text: &text}
}

// plainNames returns the fields of an object by their names in lower case and without marks.
func plainNames(object map[string]any) map[string]any {
	fields := make(map[string]any, len(object))
	for name, value := range object {
		plain := strings.Map(func(r rune) rune {
			if r == '_' || r == '-' || r == ' ' {
				return -1
			}
			return r
		}, strings.ToLower(name))
		if _, twice := fields[plain]; !twice || name == plain {
			fields[plain] = value
		}
	}
	return fields
}

// objectTurn returns the turn of an object. ok is false if the object has no field for a text, unless the speaker is
// its only field.
func objectTurn(fields map[string]any) (t turn, ok bool) {
	for _, name := range textFields {
		value, found := fields[name]
		if !found {
			continue
		}
		if text, isText := textOf(value, 0); isText {
			t.Text, ok = &text, true
			if inner, nested := value.(map[string]any); nested { // {"message": {"role": …, "content": …}}
				t.Speaker = speakerOf(plainNames(inner))
			}
			break
		}
		ok = ok || value == nil // a turn without words, such as a call of a tool
	}
	if name := speakerOf(fields); name != nil {
		t.Speaker = name
		ok = ok || len(fields) == 1
	}
	if ok {
		t.setTime(fields)
	}
	return t, ok
}

// speakerOf returns the speaker that the fields name, or nil.
func speakerOf(fields map[string]any) *string {
	for _, name := range speakerFields {
		switch v := fields[name].(type) {
		case string:
			if v != "" {
				return &v
			}
		case json.Number:
			number := PlainNumber(v.String())
			return &number
		}
	}
	return nil
}

// textOf returns the text of a value: a text, a number, a list of parts, or an object with a text. ok is false for
// lists of turns: their parts have speakers.
func textOf(value any, depth int) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return PlainNumber(v.String()), true
	case bool:
		return strconv.FormatBool(v), true
	case []any:
		var parts []string
		for _, item := range v {
			if object, isObject := item.(map[string]any); isObject && speakerOf(plainNames(object)) != nil {
				return "", false
			}
			if part, isText := textOf(item, depth+1); isText && depth < maxTurnDepth && part != "" {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, " "), len(parts) > 0
	case map[string]any:
		fields := plainNames(v)
		for _, name := range textFields {
			if text, ok := textOf(fields[name], depth+1); ok && depth < maxTurnDepth {
				return text, true
			}
		}
	}
	return "", false
}

// setTime sets the time of a turn, or its number if the unit depends on the other turns.
func (t *turn) setTime(fields map[string]any) {
	for _, name := range millisFields {
		if number, ok := numberOf(fields[name]); ok {
			t.setMillis(number)
			return
		}
	}
	for _, name := range timeFields {
		if number, ok := numberOf(fields[name]); ok {
			t.number, t.isNumber, t.inMillis = number, true, name == "timestamp"
			return
		}
		text, isText := fields[name].(string)
		if !isText {
			continue
		}
		if seconds, ok := ParseDuration(text); ok {
			t.setMillis(seconds * 1000)
			return
		}
		if micros, ok := ParseTime(text); ok && micros != OutOfRange {
			t.setMillis(float64(micros) / 1000)
			return
		}
	}
}

// setMillis sets the time, if it is within the range of a time.
func (t *turn) setMillis(millis float64) {
	if millis >= 0 && millis < float64(endMicros/1000) {
		whole := int64(math.Round(millis))
		t.Millis = &whole
	}
}

// numberOf returns the number that a value is, also as a text.
func numberOf(value any) (number float64, ok bool) {
	text, isText := value.(string)
	if v, isNumber := value.(json.Number); isNumber {
		text, isText = v.String(), true
	}
	if !isText || !epochForm.MatchString(strings.TrimSpace(text)) {
		return 0, false
	}
	number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return number, err == nil
}

// setTimes sets the times of the turns whose unit depends on the others.
func (r *turnReader) setTimes() {
	const day = 24 * 3600
	decimals, longest := false, 0.0
	for _, t := range r.turns {
		if t.isNumber {
			decimals = decimals || t.number != math.Trunc(t.number)
			longest = max(longest, t.number)
		}
	}
	for i := range r.turns {
		t := &r.turns[i]
		switch {
		case !t.isNumber:
		case longest >= 1e11: // milliseconds since 1970
			t.setMillis(t.number)
		case longest >= 1e9: // seconds since 1970
			t.setMillis(t.number * 1000)
		case longest <= day && (decimals || !t.inMillis):
			t.setMillis(t.number * 1000)
		default:
			t.setMillis(t.number)
		}
	}
}
