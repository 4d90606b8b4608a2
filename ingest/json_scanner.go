package ingest

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"
)

// A jsonScanner finds the end of a JSON value. It matches brackets and strings, and does not check the syntax. It
// processes each byte once, in as many parts as the value has.
//
// A value whose end is missing would take the rows after it. The scanner therefore ends a value before a line that
// begins with a brace and is indented like the value, if no value may begin there: in a string, which cannot contain a
// line break, and after a complete value. At the top level, a value that has more than a bracket on its first line is
// printed on one line, and ends before each such line.
//
// It also reports whether an object may have a key twice.
type jsonScanner struct {
	envelope []string // quoted keys of envelopes

	inList   bool     // the value is an element of a list
	nested   bool     // the value may be an envelope
	open     []byte   // opening brackets of the containers around the next byte
	inString bool     // the next byte is in a string
	escaped  bool     // the next byte follows a backslash in a string
	last     byte     // last byte that is not white space, outside strings; a quote after a string
	opening  bool     // only white space follows the opening bracket so far
	compact  bool     // text follows the opening bracket on its line
	indent   int      // column of the first byte of the value
	atLine   bool     // only white space precedes the next byte on its line
	column   int      // column of the next byte if atLine
	key      []byte   // start of the current key, if it began in another part
	keyFrom  int      // start of the current key in this part; -1: the string is not a key
	hasID    bool     // the object has the key id
	enclose  bool     // the last key of the object is one of envelope
	suspect  bool     // an object may have a key twice
	seen     []keySet // keys of the open objects, by depth
}

// A keySet is a Bloom filter of the keys of an object.
type keySet [16]uint64

const (
	maxKeySets = 32       // depth up to which keys are recorded; deeper objects are always suspect
	maxKey     = 64 << 10 // maximum length in bytes of a key that is recorded
)

// A scanEnd is the reason why a part of a value ends.
type scanEnd int

const (
	scanMore       scanEnd = iota // the value continues in the next part
	scanValue                     // the value is complete
	scanUnfinished                // the end of the value is missing
	scanInvalid                   // the brackets do not match
	scanEnvelope                  // the rows of an envelope follow
	scanFailed                    // the input could not be read
)

// start begins a value at a column. inList is set if it is an element of a list, which ends before a delimiter. nested
// is set if it may be an envelope.
func (s *jsonScanner) start(inList, nested bool, column int) {
	*s = jsonScanner{envelope: s.envelope, open: s.open[:0], seen: s.seen, key: s.key[:0], inList: inList,
		nested: nested, indent: column, opening: true, keyFrom: -1}
}

// resume continues the scan of an envelope after its rows were read.
func (s *jsonScanner) resume() {
	s.start(false, false, -1)
	s.push('{')
	s.last = '"'
}

// scan scans a part and returns the length of the value in it.
func (s *jsonScanner) scan(part []byte) (n int, end scanEnd) {
	for i := 0; i < len(part); {
		if s.inString && !s.atLine {
			i = s.scanString(part, i)
			continue
		}
		c := part[i]
		if s.atLine {
			if c == ' ' || c == '\t' {
				s.column++
				i++
				continue
			}
			if s.atLine = false; c == '{' && s.column == s.indent && s.endMissing() {
				return i, scanUnfinished
			}
			continue
		}
		switch c {
		case '\n':
			s.atLine, s.column, s.opening = true, 0, false
			i++
			continue
		case ' ', '\t', '\r':
			i++
			continue
		case '"':
			s.inString, s.keyFrom = true, -1
			if s.last != ':' && len(s.open) > 0 && s.open[len(s.open)-1] == '{' {
				s.key, s.keyFrom = s.key[:0], i
			}
		case '{', '[':
			if s.enclose && s.last == ':' && len(s.open) == 1 && s.nested && !s.hasID {
				return i, scanEnvelope
			}
			if s.push(c); len(s.open) == 1 {
				s.last = c
				i++
				continue
			}
		case '}', ']', ',':
			if len(s.open) == 0 { // the delimiter of an element
				return i, scanValue
			}
			if c == ',' {
				break
			}
			matches := (s.open[len(s.open)-1] == '{') == (c == '}')
			s.open = s.open[:len(s.open)-1]
			switch {
			case s.inList:
			case !matches:
				return i + 1, scanInvalid
			case len(s.open) == 0:
				return i + 1, scanValue
			}
		}
		s.compact = s.compact || s.opening
		s.opening = false
		s.last = c
		i++
	}
	s.keepKey(part)
	return len(part), scanMore
}

// endMissing reports whether a line that begins with a brace cannot belong to the value.
func (s *jsonScanner) endMissing() bool {
	switch {
	case len(s.open) == 0:
		return false
	case s.inString, s.compact && !s.inList:
		return true
	case s.last == ',':
		return s.open[len(s.open)-1] == '{'
	}
	return s.last != ':' && s.last != '['
}

// push enters a container.
func (s *jsonScanner) push(bracket byte) {
	if depth := len(s.open); depth == len(s.seen) && depth < maxKeySets {
		s.seen = append(s.seen, keySet{})
	} else if depth < maxKeySets {
		s.seen[depth] = keySet{}
	}
	s.open = append(s.open, bracket)
}

// special marks the bytes that end a run of text in a string.
var special = [256]bool{'"': true, '\\': true, '\n': true}

// scanString continues in a string at part[i] and returns the index of the next byte to scan.
func (s *jsonScanner) scanString(part []byte, i int) int {
	if s.escaped {
		s.escaped = false
		if part[i] != '\n' {
			i++
		}
	}
	run := len(part) - i
	for n, c := range part[i:] {
		if special[c] {
			run = n
			break
		}
	}
	if i += run; i == len(part) {
		return i
	}
	switch part[i] {
	case '\\':
		s.escaped = true
	case '\n':
		s.atLine, s.column = true, 0
	case '"':
		s.inString, s.last = false, '"'
		s.compact = s.compact || s.opening
		if s.keyFrom >= 0 {
			key := part[s.keyFrom : i+1]
			if len(s.key) > 0 {
				s.key = append(s.key, key...)
				key = s.key
			}
			s.addKey(key)
		}
	}
	return i + 1
}

// keySeed seeds the hashes of keys.
var keySeed = maphash.MakeSeed()

// addKey records a quoted key of the innermost object.
func (s *jsonScanner) addKey(key []byte) {
	depth := len(s.open) - 1
	if depth == 0 {
		s.hasID = s.hasID || string(key) == `"id"`
		s.enclose = slices.Contains(s.envelope, string(key))
	}
	if depth >= maxKeySets {
		s.suspect = true
		return
	}
	hash := maphash.Bytes(keySeed, key)
	word, bit := &s.seen[depth][hash>>6&15], uint64(1)<<(hash&63)
	s.suspect = s.suspect || bytes.IndexByte(key, '\\') >= 0 // may be another spelling of a key
	s.suspect = s.suspect || *word&bit != 0
	*word |= bit
}

// keepKey keeps the start of a key that continues in the next part.
func (s *jsonScanner) keepKey(part []byte) {
	if !s.inString || s.keyFrom < 0 {
		return
	}
	if len(s.key)+len(part)-s.keyFrom > maxKey {
		s.suspect, s.keyFrom = true, -1
		return
	}
	s.key, s.keyFrom = append(s.key, part[s.keyFrom:]...), 0
}

// A member is the place of a member of an object in a text: the start of its key, the end of its key, and the end of
// the object or the start of the next member.
type member struct{ from, keyEnd, to int32 }

// withoutDuplicateKeys appends a JSON text to out and returns it. Of several members of an object with one key, only
// the last is kept, as JSON libraries do.
func withoutDuplicateKeys(out, text []byte) []byte {
	var cuts []member
	var members []member // of all open objects, the outermost first
	var starts []int     // index of the first member of each open container
	isObject := []bool{}
	keyNext := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			end := stringEnd(text, i)
			if n := len(starts); keyNext {
				if len(members) > starts[n-1] {
					members[len(members)-1].to = int32(i)
				}
				members = append(members, member{from: int32(i), keyEnd: int32(end)})
				keyNext = false
			}
			i = end - 1
		case '{', '[':
			starts, isObject = append(starts, len(members)), append(isObject, c == '{')
			keyNext = c == '{'
		case ',':
			keyNext = len(isObject) > 0 && isObject[len(isObject)-1]
		case '}', ']':
			if len(starts) == 0 {
				break
			}
			n := len(starts) - 1
			cuts = appendDuplicates(cuts, text, members[starts[n]:])
			members, starts, isObject = members[:starts[n]], starts[:n], isObject[:n]
			keyNext = false
		}
	}
	slices.SortFunc(cuts, func(a, b member) int { return int(a.from - b.from) })
	at := int32(0)
	for _, cut := range cuts {
		if cut.from >= at {
			out = append(out, text[at:cut.from]...)
		}
		at = max(at, cut.to)
	}
	return append(out, text[at:]...)
}

// stringEnd returns the index after the string at text[i].
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// appendDuplicates appends to cuts the members of an object that a later member replaces.
func appendDuplicates(cuts []member, text []byte, members []member) []member {
	slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(a.key(text), b.key(text)) })
	for i := range len(members) - 1 {
		if bytes.Equal(members[i].key(text), members[i+1].key(text)) {
			cuts = append(cuts, members[i])
		}
	}
	return cuts
}

// key returns the key without escapes.
func (m member) key(text []byte) []byte {
	quoted := text[m.from:m.keyEnd]
	if bytes.IndexByte(quoted, '\\') < 0 {
		return bytes.Trim(quoted, `"`)
	}
	key := ""
	if json.Unmarshal(quoted, &key) != nil {
		return quoted
	}
	return []byte(key)
}
