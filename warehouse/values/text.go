package values

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns bytes as UTF-8 text. Some programs encode the two halves of a surrogate pair on their own, and cut
// between them. Text joins the halves, and replaces a half without its other by U+FFFD. valid is false if the bytes
// have other faults, which Text also replaces by U+FFFD.
func Text(content []byte) (text string, valid bool) {
	if utf8.Valid(content) {
		return string(content), true
	}
	var out strings.Builder
	out.Grow(len(content))
	valid = true
	for len(content) > 0 {
		r, size := utf8.DecodeRune(content)
		if r == utf8.RuneError && size == 1 {
			half, isHalf := surrogate(content)
			if isHalf {
				size = surrogateBytes
				if other, found := surrogate(content[size:]); found && utf16.DecodeRune(half, other) != utf8.RuneError {
					r = utf16.DecodeRune(half, other)
					size = 2 * surrogateBytes
				}
			}
			valid = valid && isHalf
		}
		out.WriteRune(r)
		content = content[size:]
	}
	return out.String(), valid
}

const surrogateBytes = 3

// surrogate returns half of a surrogate pair that the bytes begin with.
func surrogate(content []byte) (half rune, ok bool) {
	if len(content) < surrogateBytes || content[0] != 0xED || content[1]&0xE0 != 0xA0 || content[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | rune(content[1]&0x3F)<<6 | rune(content[2]&0x3F), true
}
