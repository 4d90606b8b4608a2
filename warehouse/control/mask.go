package control

import (
	"regexp"
	"slices"
	"strings"
)

// keyLike matches every text that [DB.Authenticate] may accept as a key.
var keyLike = regexp.MustCompile(`[ps]k_[A-Za-z0-9]{7,}`)

// maxEscaping is the maximum number of times that a text may be percent-encoded. Proxies encode once or twice.
const maxEscaping = 4

// MaskKeys returns the text with everything that looks like an API key replaced by its type and …, also if it is
// percent-encoded, once or several times. Every text from outside must pass through it before it is logged, stored or
// sent back.
func MaskKeys(text string) string {
	if !strings.Contains(text, "%") {
		return keyLike.ReplaceAllStringFunc(text, func(key string) string { return key[:3] + "…" })
	}
	levels := []unescaped{{text: []byte(text), starts: make([]int, len(text)+1)}}
	for i := range levels[0].starts {
		levels[0].starts[i] = i
	}
	for len(levels) <= maxEscaping {
		next, ok := levels[len(levels)-1].unescape()
		if !ok {
			break
		}
		levels = append(levels, next)
	}
	// The most decoded form first: it shows the whole of a key that is encoded in part.
	for _, level := range slices.Backward(levels) {
		found := keyLike.FindAllIndex(level.text, -1)
		if found == nil {
			continue
		}
		var out strings.Builder
		last := 0
		for _, at := range found {
			out.WriteString(text[last:level.starts[at[0]]])
			out.Write(level.text[at[0] : at[0]+3])
			out.WriteString("…")
			last = level.starts[at[1]]
		}
		out.WriteString(text[last:])
		return MaskKeys(out.String()) // the rest of the text may have keys at another level
	}
	return text
}

// unescaped is a decoded form of a text. text[i] stands for the bytes from starts[i] to starts[i+1] of the original.
type unescaped struct {
	text   []byte
	starts []int
}

// unescape decodes the percent-encoded bytes once more. It reports whether there are any.
func (u unescaped) unescape() (next unescaped, ok bool) {
	for i := 0; i < len(u.text); i++ {
		b := u.text[i]
		next.starts = append(next.starts, u.starts[i])
		if b == '%' && i+2 < len(u.text) {
			if high, low := hexDigit(u.text[i+1]), hexDigit(u.text[i+2]); high >= 0 && low >= 0 {
				b, i, ok = byte(high<<4|low), i+2, true
			}
		}
		next.text = append(next.text, b)
	}
	next.starts = append(next.starts, u.starts[len(u.text)])
	return next, ok
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		return int(b|0x20-'a') + 10
	}
	return -1
}
