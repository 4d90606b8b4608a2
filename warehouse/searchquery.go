package warehouse

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
)

// A SearchQuery is a parsed query of a text search: words, "phrases", prefix*, AND (the default operator), OR, NOT
// and parentheses. Words match as a whole and case-insensitively. Accents and vowel signs are significant; ß matches
// ss, and i matches ı and İ. Any characters other than letters and digits may separate the words of a phrase.
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

// ParseSearchQuery parses a query. A syntax error is ErrInvalid and names the position.
func ParseSearchQuery(text string) (p SearchQuery, err error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > maxQueryLength {
		return p, fmt.Errorf("%w: the query must have 1 to %d characters", ErrInvalid, maxQueryLength)
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
	return fmt.Errorf("%w: %s (at character %d)", ErrInvalid, message, r.at+1)
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

// Characters of words: letters of all scripts with their marks, digits, underscores and joiners.
const (
	wordRune    = `[\pL\pM\pN_\x{200c}\x{200d}]`
	nonWordRune = `[^\pL\pM\pN_\x{200c}\x{200d}]`
)

// isNonWordRune reports whether c matches nonWordRune.
func isNonWordRune(c rune) bool {
	return !unicode.In(c, unicode.L, unicode.M, unicode.N) && c != '_' && c != '\u200c' && c != '\u200d'
}

// parseTerm returns the SQL condition that the text contains these words, one after the other.
func (r *searchParser) parseTerm(text string, prefix bool) (string, error) {
	if r.terms++; r.terms > maxQueryTerms {
		return "", r.syntaxError(fmt.Sprintf("there are more than %d words and phrases", maxQueryTerms))
	}
	if len(strings.FieldsFunc(text, isNonWordRune)) == 0 {
		return "", r.syntaxError("this contains neither letters nor digits")
	}
	pattern := wordsPattern(norm.NFC.String(text))
	if decomposed := wordsPattern(norm.NFD.String(text)); decomposed != pattern {
		pattern = pattern + "|" + decomposed
	}
	whole := "(?i)(?:^|" + nonWordRune + ")(" + pattern + ")(?:$|" + nonWordRune + ")"
	if prefix {
		whole = "(?i)(?:^|" + nonWordRune + ")((?:" + pattern + ")" + wordRune + "*)"
	}
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

// wordsPattern returns a regular expression for the words of the text. DuckDB and Go use the same syntax, RE2.
func wordsPattern(text string) string {
	words := strings.FieldsFunc(text, isNonWordRune)
	for i, word := range words {
		var b strings.Builder
		for at := 0; at < len(word); {
			c, size := utf8.DecodeRuneInString(word[at:])
			switch {
			case len(word) >= at+2 && strings.EqualFold(word[at:at+2], "ss"):
				b.WriteString("(?:ss|ß|ẞ)")
				size = 2
			case c == 'ß' || c == 'ẞ':
				b.WriteString("(?:ss|ß|ẞ)")
			case c == 'i' || c == 'I' || c == 'ı' || c == 'İ':
				b.WriteString(`[iıİ]\x{307}?`)
			default:
				b.WriteString(regexp.QuoteMeta(string(c)))
			}
			at += size
		}
		words[i] = b.String()
	}
	return strings.Join(words, nonWordRune+"+")
}
