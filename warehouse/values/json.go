package values

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ReplaceSurrogates replaces each escape of one half of a surrogate pair in a JSON text by \ufffd if the other half is
// missing. JSON parsers refuse such a text; programs that cut texts write it. The length of the text does not change.
func ReplaceSurrogates(json []byte) {
	for i := bytes.IndexByte(json, '\\'); i >= 0 && i+1 < len(json); {
		half, ok := escapedHalf(json[i:])
		other, found := rune(0), false
		if ok && i+escapeBytes <= len(json) {
			other, found = escapedHalf(json[i+escapeBytes:])
		}
		switch {
		case ok && found && utf16.DecodeRune(half, other) != '\uFFFD':
			i += 2 * escapeBytes
		case ok:
			copy(json[i:], `\ufffd`)
			i += escapeBytes
		default:
			i += 2 // the backslash, and the byte that it escapes
		}
		next := -1
		if i < len(json) {
			next = bytes.IndexByte(json[i:], '\\')
		}
		if next < 0 {
			return
		}
		i += next
	}
}

const escapeBytes = len(`\ud83d`)

// escapedHalf returns half of a surrogate pair if the text begins with its escape.
func escapedHalf(json []byte) (half rune, ok bool) {
	if len(json) < escapeBytes || json[0] != '\\' || json[1] != 'u' {
		return 0, false
	}
	code, err := strconv.ParseUint(string(json[2:escapeBytes]), 16, 16)
	return rune(code), err == nil && utf16.IsSurrogate(rune(code))
}

// FiniteJSON returns a JSON text in which NaN, Inf and Infinity, in any case, are null.
func FiniteJSON(json string) string {
	var out strings.Builder
	for quoted := false; json != ""; {
		special := ""
		if !quoted {
			for _, name := range []string{"-Infinity", "Infinity", "-Inf", "Inf", "-NaN", "NaN"} { // the longest first
				if len(json) >= len(name) && strings.EqualFold(json[:len(name)], name) {
					special = name
					break
				}
			}
		}
		n := 1
		switch {
		case special != "":
			out.WriteString("null")
			json = json[len(special):]
			continue
		case json[0] == '"':
			quoted = !quoted
		case json[0] == '\\' && len(json) > 1:
			n = 2
		}
		out.WriteString(json[:n])
		json = json[n:]
	}
	return out.String()
}
