package erasure

import (
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A Matcher finds identities in texts.
type Matcher struct {
	// Has reports whether a key is one of the identities.
	Has func(Key) bool
	// Texts are further texts of a person, such as an e-mail address, that are compared without regard to case. They are
	// known only while the person is being erased.
	Texts []string
}

var (
	idPattern = regexp.MustCompile(`(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// numberPattern matches groups of digits with at most four separators between two of them.
	numberPattern = regexp.MustCompile(`[0-9]+(?:[+()./\s\p{Zs}\p{Pd}\p{Cf}]{1,4}[0-9]+)*`)
	groupPattern  = regexp.MustCompile(`[0-9]+`)
)

// maxDigits is the maximum number of digits of a phone number that is looked for in a text.
const maxDigits = 20

// Find returns the places in the text, as pairs of start and end, that name an identity.
func (m Matcher) Find(text string) (places [][2]int) {
	for _, at := range idPattern.FindAllStringIndex(text, -1) {
		id, err := uuid.Parse(text[at[0]:at[1]])
		isRow := func(d schema.Dataset) bool { return m.Has(RowKey(d.Name, id)) }
		if err == nil && slices.ContainsFunc(schema.Datasets, isRow) {
			places = append(places, [2]int{at[0], at[1]})
		}
	}
	for _, run := range numberPattern.FindAllStringIndex(text, -1) {
		places = append(places, m.numbersIn(text, run[0], run[1])...)
	}
	if len(m.Texts) > 0 {
		lower := strings.ToLower(text)
		if len(lower) != len(text) { // a letter whose lower case has another length: places are not comparable
			lower = text
		}
		for _, t := range m.Texts {
			t = strings.ToLower(t)
			for from := 0; t != ""; {
				at := strings.Index(lower[from:], t)
				if at < 0 {
					break
				}
				places = append(places, [2]int{from + at, from + at + len(t)})
				from += at + len(t)
			}
		}
	}
	return places
}

// numbersIn returns the places of erased phone numbers in a run of groups of digits, text[start:end]. A number may
// consist of several groups, and a run may contain several numbers.
func (m Matcher) numbersIn(text string, start, end int) (places [][2]int) {
	groups := groupPattern.FindAllStringIndex(text[start:end], -1)
	for first := 0; first < len(groups); first++ {
		digits := ""
		for last := first; last < len(groups); last++ {
			digits += text[start+groups[last][0] : start+groups[last][1]]
			if len(digits) > maxDigits {
				break
			}
			if len(digits) >= minDigits && m.Has(Key("number:"+digits)) {
				places = append(places, [2]int{start + groups[first][0], start + groups[last][1]})
				first = last
				break
			}
		}
	}
	return places
}

// Matches reports whether the text names an identity.
func (m Matcher) Matches(text string) bool { return len(m.Find(text)) > 0 }

// Redact returns the text with every identity replaced by the other text.
func (m Matcher) Redact(text, by string) (redacted string, changed bool) {
	places := m.Find(text)
	if len(places) == 0 {
		return text, false
	}
	hidden := make([]bool, len(text)) // places may overlap
	for _, place := range places {
		for i := place[0]; i < place[1]; i++ {
			hidden[i] = true
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			out.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			out.WriteString(by)
		}
	}
	return out.String(), true
}
