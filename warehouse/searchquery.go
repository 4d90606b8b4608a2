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

// Phrases is what texts are searched for: words, "phrases", prefix*, AND (which may be left out), OR, NOT and parentheses. A word is found
// as a whole, in any case; accents and vowel signs count, ß is ss, and i is ı and İ too. What stands between the words of a phrase does not
// count.
type SearchQuery struct {
	condition string // of a column named text
	patterns  []*regexp.Regexp
}

// Bounds of what is searched for.
const (
	maxQueryLength = 500 // code points
	maxQueryTerms  = 32
	maxQueryDepth  = 20
)

// ParsePhrases reads what is searched for; what cannot be read is ErrInvalid, with the place.
func ParseSearchQuery(text string) (p SearchQuery, err error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > maxQueryLength {
		return p, fmt.Errorf("%w: it must be of 1 to %d characters", ErrInvalid, maxQueryLength)
	}
	r := &searchParser{rest: []rune(text)}
	p.condition, err = r.parseOr(0)
	switch {
	case err != nil:
		return p, err
	case len(r.rest) > 0:
		return p, r.syntaxError("this ) closes nothing")
	case len(r.patterns) == 0:
		return p, r.syntaxError("a word is needed that is not after NOT")
	}
	p.patterns = r.patterns
	return p, nil
}

// Find is where the text has what is searched for: the first and the next after the last code point of each place, in their order.
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
			from += found[3] // what ends a word may begin the next
		}
	}
	slices.SortFunc(places, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	return slices.Compact(places)
}

// phrasesReader reads from left to right.
type searchParser struct {
	rest     []rune
	at       int // code points that are read
	terms    int
	patterns []*regexp.Regexp
	negated  bool // what is read is after an odd number of NOTs
}

func (r *searchParser) syntaxError(what string) error {
	return fmt.Errorf("%w: %s (at character %d)", ErrInvalid, what, r.at+1)
}

func (r *searchParser) skip(n int) { r.rest, r.at = r.rest[n:], r.at+n }

// any reads what is between ORs.
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

// all reads what is between ANDs, or just stands together.
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

// one reads a word, a phrase, or what is in parentheses, each perhaps after NOT.
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

// word is the word that comes next, after blanks, which it skips; none where a phrase, a parenthesis or the end is next.
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

// What words are made of: letters of all scripts with their marks, and the joiners that some of them have.
const (
	wordRune    = `[\pL\pM\pN_\x{200c}\x{200d}]`
	nonWordRune = `[^\pL\pM\pN_\x{200c}\x{200d}]`
)

func isNonWordRune(c rune) bool {
	return !unicode.In(c, unicode.L, unicode.M, unicode.N) && c != '_' && c != '\u200c' && c != '\u200d'
}

// term is the condition that the text has these words, one after the other.
func (r *searchParser) parseTerm(text string, prefix bool) (string, error) {
	if r.terms++; r.terms > maxQueryTerms {
		return "", r.syntaxError(fmt.Sprintf("there are more than %d words and phrases", maxQueryTerms))
	}
	if len(strings.FieldsFunc(text, isNonWordRune)) == 0 {
		return "", r.syntaxError("there is no letter or digit in this")
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
			return "", r.syntaxError("this cannot be searched for")
		}
		r.patterns = append(r.patterns, expression)
	}
	// Each is several times as quick as the one after it, and true for few.
	condition := fmt.Sprintf("regexp_matches(text, %s) AND regexp_matches(text, %s)", statements.Text("(?i)"+pattern), statements.Text(whole))
	if letter := rareLetter(text); letter != "" {
		condition = fmt.Sprintf("(contains(text, %s) OR contains(text, %s)) AND %s", statements.Text(letter), statements.Text(strings.ToUpper(letter)), condition)
	}
	return "(" + condition + ")", nil
}

// rareLetter is a letter of the words that few turns have in most languages, or none: without it, the words are not there. Of each of them
// there is a small and a capital one, and no third, as there is of k, s and i.
func rareLetter(words string) string {
	words = strings.ToLower(norm.NFC.String(words)) // an accented letter is another one
	for _, letter := range []string{"q", "x", "z", "j", "v", "p", "b", "g"} {
		if strings.Contains(words, letter) {
			return letter
		}
	}
	return ""
}

// wordsPattern is a pattern for words in DuckDB's and Go's regular expressions, which are the same.
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
