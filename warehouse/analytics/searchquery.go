package analytics

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// A SearchQuery is a parsed query of a text search: words, "phrases", prefix*, AND (the default operator), OR, NOT
// and parentheses. Words match as a whole and case-insensitively. Accents and vowel signs are significant; ß matches
// ss, and i matches ı and İ. Any characters other than letters and digits may separate the words of a phrase. In
// scripts without blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) a word matches anywhere.
// Code points that are not seen, such as soft hyphens, joiners and the Arabic tatweel, are ignored in queries and
// texts.
type SearchQuery struct {
	condition string           // SQL condition on the column text
	patterns  []*regexp.Regexp // words and phrases that are not negated; the first group is the match
}

// Bounds of a query.
const (
	maxQueryLength = 500 // code points
	maxQueryTerms  = 32
	maxQueryDepth  = 20
)

// ParseSearchQuery parses a query. A syntax error is warehouse.ErrInvalid and names the position.
func ParseSearchQuery(text string) (p SearchQuery, err error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > maxQueryLength {
		return p, fmt.Errorf("%w: the query must have 1 to %d characters", warehouse.ErrInvalid, maxQueryLength)
	}
	r := &searchParser{rest: []rune(text)}
	p.condition, err = r.parseOr(0)
	switch {
	case err != nil:
		return p, err
	case len(r.rest) > 0:
		return p, r.syntaxError("this ) has no matching (")
	case len(r.patterns) == 0:
		return p, r.syntaxError("at least one word without NOT is required")
	}
	p.patterns = r.patterns
	return p, nil
}

// Find returns the matches in the text as half-open ranges of code points, in order.
func (p SearchQuery) Find(text string) [][2]int {
	places := [][2]int{}
	for _, wanted := range p.patterns {
		for from := 0; ; {
			found := wanted.FindStringSubmatchIndex(text[from:])
			if found == nil {
				break
			}
			start := utf8.RuneCountInString(text[:from+found[2]])
			places = append(places, [2]int{start, start + utf8.RuneCountInString(text[from+found[2]:from+found[3]])})
			from += found[3] // the separator after this match may also be the separator before the next
		}
	}
	slices.SortFunc(places, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	return slices.Compact(places)
}

// A searchParser is a recursive descent parser of queries.
type searchParser struct {
	rest     []rune // text that is not parsed yet
	at       int    // number of code points before rest
	terms    int    // number of words and phrases so far
	patterns []*regexp.Regexp
	negated  bool // the parser is inside an odd number of NOTs
}

// syntaxError returns an error at the current position.
func (r *searchParser) syntaxError(message string) error {
	return fmt.Errorf("%w: %s (at character %d)", warehouse.ErrInvalid, message, r.at+1)
}

// skip advances by n code points.
func (r *searchParser) skip(n int) { r.rest, r.at = r.rest[n:], r.at+n }

// parseOr parses expressions joined by OR and returns their SQL condition.
func (r *searchParser) parseOr(depth int) (string, error) {
	var either []string
	for {
		condition, err := r.parseAnd(depth)
		if err != nil {
			return "", err
		}
		either = append(either, condition)
		if r.peekWord() != "OR" {
			return "(" + strings.Join(either, " OR ") + ")", nil
		}
		r.skip(len("OR"))
	}
}

// parseAnd parses expressions joined by AND or by blanks and returns their SQL condition.
func (r *searchParser) parseAnd(depth int) (string, error) {
	var each []string
	for {
		condition, err := r.parseUnary(depth)
		if err != nil {
			return "", err
		}
		each = append(each, condition)
		switch next := r.peekWord(); {
		case next == "AND":
			r.skip(len("AND"))
		case next == "" && (len(r.rest) == 0 || r.rest[0] == ')'), next == "OR":
			return "(" + strings.Join(each, " AND ") + ")", nil
		}
	}
}

// parseUnary parses a word, a phrase or an expression in parentheses, with or without NOT, and returns its SQL
// condition.
func (r *searchParser) parseUnary(depth int) (string, error) {
	if depth > maxQueryDepth {
		return "", r.syntaxError("NOT and parentheses are nested too deeply")
	}
	switch word := r.peekWord(); {
	case word == "NOT":
		r.skip(len("NOT"))
		r.negated = !r.negated
		condition, err := r.parseUnary(depth + 1)
		r.negated = !r.negated
		return "NOT " + condition, err
	case word == "AND", word == "OR":
		return "", r.syntaxError("a word is needed before " + word)
	case word != "":
		condition, err := r.parseTerm(strings.TrimSuffix(word, "*"), strings.HasSuffix(word, "*"))
		r.skip(utf8.RuneCountInString(word))
		return condition, err
	case len(r.rest) == 0:
		return "", r.syntaxError("a word is needed here")
	case r.rest[0] == ')':
		return "", r.syntaxError("a word is needed before )")
	case r.rest[0] == '(':
		r.skip(1)
		condition, err := r.parseOr(depth + 1)
		if err == nil && (len(r.rest) == 0 || r.rest[0] != ')') {
			err = r.syntaxError("a ) is missing")
		}
		if err != nil {
			return "", err
		}
		r.skip(1)
		return condition, nil
	}
	phrase, _, closed := strings.Cut(string(r.rest[1:]), `"`)
	if !closed {
		return "", r.syntaxError(`the " that ends this phrase is missing`)
	}
	condition, err := r.parseTerm(phrase, false)
	r.skip(utf8.RuneCountInString(phrase) + 2)
	return condition, err
}

// peekWord skips blanks and returns the next word, or "" if a phrase, a parenthesis or the end follows.
func (r *searchParser) peekWord() string {
	blanks := 0
	for blanks < len(r.rest) && unicode.IsSpace(r.rest[blanks]) {
		blanks++
	}
	r.skip(blanks)
	end := 0
	for end < len(r.rest) && !unicode.IsSpace(r.rest[end]) && !strings.ContainsRune(`()"`, r.rest[end]) {
		end++
	}
	return string(r.rest[:end])
}

// Classes of code points, for regular expressions.
const (
	// ignored are the code points that text may contain anywhere inside a word without being another word: Unicode's
	// Default_Ignorable_Code_Point (soft hyphen, joiners, variation selectors, direction marks) and the Arabic tatweel.
	ignored = `\x{ad}\x{34f}\x{61c}\x{640}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}` +
		`\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}` +
		`\x{fff0}-\x{fff8}\x{1bca0}-\x{1bca3}\x{1d173}-\x{1d17a}\x{e0000}-\x{e0fff}`
	// wordRunes are letters of all scripts with their marks, digits, underscores, and the ignored code points that do
	// not separate words (the zero-width space and the marks of direction do).
	wordRunes = `\pL\pM\pN_\x{ad}\x{200c}\x{200d}\x{2060}-\x{2064}\x{feff}\x{e0000}-\x{e0fff}`
	// unspaced are the scripts that write words without blanks between them.
	unspaced = `\p{Han}\p{Hiragana}\p{Katakana}\x{30fc}\x{ff70}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}`

	nonWordRune = "[^" + wordRunes + "]"
)

var (
	isIgnored  = regexp.MustCompile("[" + ignored + "]")
	isUnspaced = regexp.MustCompile("^[" + unspaced + "]")
	isNonWord  = regexp.MustCompile("^" + nonWordRune)
)

// A term is a word, or a phrase of words with any separators between them.
type term struct {
	words  []string
	prefix bool // the last word may go on
}

// newTerm returns the words of a text, without the code points that a search ignores.
func newTerm(text string, prefix bool) term {
	words := strings.FieldsFunc(text, func(c rune) bool { return isNonWord.MatchString(string(c)) })
	for i, word := range words {
		words[i] = isIgnored.ReplaceAllString(word, "")
	}
	return term{slices.DeleteFunc(words, func(word string) bool { return word == "" }), prefix}
}

// normalized returns the term in a normal form of Unicode.
func (t term) normalized(form norm.Form) term {
	words := make([]string, len(t.words))
	for i, word := range t.words {
		words[i] = form.String(word)
	}
	return term{words, t.prefix}
}

// whole returns a regular expression for the term between the borders of words. Its first group is the term. A word
// borders on a separator or on a letter of a script without blanks. Words of such a script need no border: only a text
// that is segmented by a dictionary has one.
func (t term) whole(pattern string) string {
	first, last := t.words[0], t.words[len(t.words)-1]
	border := nonWordRune + "|[" + unspaced + "]"
	before, after := "(?:^|"+border+")["+ignored+"]*", "["+ignored+"]*(?:$|"+border+")"
	if isUnspaced.MatchString(first) {
		before = ""
	}
	switch {
	case endsUnspaced(last):
		after = `(?:$|\PM)` // the vowel signs and tones of a letter belong to it
	case t.prefix:
		return "(?i)" + before + "((?:" + pattern + ")[" + wordRunes + "]*)"
	}
	return "(?i)" + before + "(" + pattern + ")" + after
}

// endsUnspaced reports whether the last letter of a word belongs to a script without blanks.
func endsUnspaced(word string) bool {
	end, _ := utf8.DecodeLastRuneInString(word)
	return isUnspaced.MatchString(string(end))
}

// parseTerm returns the SQL condition that the text contains these words, one after the other.
func (r *searchParser) parseTerm(text string, prefix bool) (string, error) {
	if r.terms++; r.terms > maxQueryTerms {
		return "", r.syntaxError(fmt.Sprintf("there are more than %d words and phrases", maxQueryTerms))
	}
	t := newTerm(text, prefix)
	if len(t.words) == 0 {
		return "", r.syntaxError("this contains neither letters nor digits")
	}
	pattern := t.normalized(norm.NFC).pattern()
	if decomposed := t.normalized(norm.NFD).pattern(); decomposed != pattern {
		pattern = pattern + "|" + decomposed
	}
	whole := t.whole(pattern)
	if !r.negated {
		expression, err := regexp.Compile(whole)
		if err != nil {
			return "", r.syntaxError("this term is too complex")
		}
		r.patterns = append(r.patterns, expression)
	}
	// Each condition is several times faster than the next one and true for few texts.
	condition := fmt.Sprintf("regexp_matches(text, %s) AND regexp_matches(text, %s)",
		statements.Text("(?i)"+pattern), statements.Text(whole))
	if letter := rareLetter(text); letter != "" {
		condition = fmt.Sprintf("(contains(text, %s) OR contains(text, %s)) AND %s",
			statements.Text(letter), statements.Text(strings.ToUpper(letter)), condition)
	}
	return "(" + condition + ")", nil
}

// rareLetter returns a letter of the words that is rare in most languages, or "". Texts without it do not match. Each
// of the letters has exactly one lower-case and one upper-case form, unlike k, s and i.
func rareLetter(words string) string {
	words = strings.ToLower(norm.NFC.String(words)) // composed, so that accented letters are different letters
	for _, letter := range []string{"q", "x", "z", "j", "v", "p", "b", "g"} {
		if strings.Contains(words, letter) {
			return letter
		}
	}
	return ""
}

// pattern returns a regular expression for the words of the term, with ignored code points anywhere in them. DuckDB and
// Go use the same syntax, RE2.
func (t term) pattern() string {
	var b strings.Builder
	for i, word := range t.words {
		switch {
		case i == 0:
		case endsUnspaced(t.words[i-1]) && isUnspaced.MatchString(word):
			b.WriteString(nonWordRune + "*")
		default:
			b.WriteString("[" + ignored + "]*" + nonWordRune + "+[" + ignored + "]*")
		}
		for at := 0; at < len(word); {
			if at > 0 {
				b.WriteString("[" + ignored + "]*")
			}
			c, size := utf8.DecodeRuneInString(word[at:])
			switch {
			case len(word) >= at+2 && strings.EqualFold(word[at:at+2], "ss"):
				b.WriteString("(?:s[" + ignored + "]*s|ß|ẞ)")
				size = 2
			case c == 'ß' || c == 'ẞ':
				b.WriteString("(?:s[" + ignored + "]*s|ß|ẞ)")
			case c == 'i' || c == 'I' || c == 'ı' || c == 'İ':
				b.WriteString(`[iıİ]\x{307}?`)
			default:
				b.WriteString(regexp.QuoteMeta(string(c)))
			}
			at += size
		}
	}
	return b.String()
}
