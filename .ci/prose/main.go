// Command prose checks that comments, messages and documents are written in plain technical English.
//
// It reads Go comments and messages (string literals with several words), SQL comments, Markdown, and the descriptions
// in JSON and YAML documents, and prints one line per finding: file, line, rule, and the text that breaks the rule. The
// exit status is 1 if there is a finding.
//
// Usage: prose [FILE...]; without files, all files that git tracks.
package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxWords is the longest sentence, in words, that passes in comments and documents.
const maxWords = 30

// rule is a pattern that plain technical English does not need.
type rule struct {
	name    string
	pattern *regexp.Regexp
	except  *regexp.Regexp // matches that pass; nil: none
}

func newRule(name, pattern, except string) rule {
	r := rule{name: name, pattern: regexp.MustCompile(`(?i)` + pattern)}
	if except != "" {
		r.except = regexp.MustCompile(`(?i)` + except)
	}
	return r
}

var rules = []rule{
	newRule("name the subject: headless clause",
		`(^|[.;:,(] |\b(of|for|to|by|in|with|and|or|than|but|is|are|as|from|on|at) )(what|who|whoever|whose) `+
			`(is|was|are|were|has|have|had|can|cannot|may|must|does|do|did|comes|came|stands|lies|[a-z]+s)\b`, ``),
	newRule("name the subject: vague agent", `\b(whoever|anybody|nobody)\b`, ``),
	newRule("programs do not speak: use returns, reports whether, names", `\b(tells|told)\b`, ``),
	newRule("use N or at most N", `\bso many\b`, ``),
	newRule("say invalid, missing or not a", `\bthat is none\b|\bis none\b`, ``),
	newRule("say is not a", `\bis no [a-z]+\b`, `\bis no (longer|more|such)\b`),
	newRule("say again", `\banew\b`, ``),
	newRule("start a new sentence", `\bof which\b`, ``),
	newRule("say except", `\bbut for\b`, `\bbut for (a|an|each|every)\b`),
	newRule("say anyway", `\ball the same\b`, ``),
	newRule("conditions are if and when", `(^|[.;:] )where (it|they|there|this|that|these|those|one|nothing|none|all|no|the)\b`, ``),
	newRule("conditions are if and when", `, where (it|they|there) (is|are|was|were|has|have|can|cannot|does|do|would)\b`, ``),
	newRule("retired term", `\b(editions?|lockin|knots?|askers?|told apart|standing in|handful|foretold)\b`, ``),
}

// pending are the folders whose prose was not revised yet. Remove a folder once it has no finding.
var pending = []string{
	"docs/performance.md",
	"ingest/demo/dialogue.go", // invented dialogues ask questions
	"sql/migrations/",         // released scripts never change
}

// text is a piece of prose and the place it begins at.
type text struct {
	file  string
	line  int // of the first line, from 1
	lines []string
	prose bool // sentences are complete, so that their length is checked
}

func main() {
	files := os.Args[1:]
	if len(files) == 0 {
		out, err := exec.Command("git", "ls-files").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "prose: list files:", err)
			os.Exit(2)
		}
		files = strings.Fields(string(out))
	}
	findings := 0
	for _, file := range files {
		texts, err := read(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(2)
		}
		for _, t := range texts {
			for _, finding := range check(t) {
				fmt.Println(finding)
				findings++
			}
		}
	}
	if findings > 0 {
		fmt.Fprintf(os.Stderr, "prose: %d findings\n", findings)
		os.Exit(1)
	}
}

// read returns the prose of a file, or nothing for a kind of file that has none.
func read(file string) ([]text, error) {
	isPending := slices.ContainsFunc(pending, func(folder string) bool { return strings.HasPrefix(file, folder) })
	if isPending || strings.Contains(file, "testdata/") || strings.HasPrefix(file, ".ci/prose/") {
		return nil, nil
	}
	switch filepath.Ext(file) {
	case ".go":
		return readGo(file)
	case ".sql":
		return readLines(file, sqlComment)
	case ".md":
		return readMarkdown(file)
	case ".json", ".yaml", ".yml":
		return readLines(file, description)
	}
	return nil, nil
}

// readGo returns the comments of a Go file, and its string literals of four words or more.
func readGo(file string) (texts []text, err error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, group := range parsed.Comments {
		t := text{file: file, line: set.Position(group.Pos()).Line, prose: true}
		for _, comment := range group.List {
			for line := range strings.SplitSeq(comment.Text, "\n") {
				t.lines = append(t.lines, goComment(line))
			}
		}
		texts = append(texts, t)
	}
	if strings.HasSuffix(file, "_test.go") {
		return texts, nil // literals in tests are data
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(literal.Value)
		if err == nil && len(strings.Fields(value)) >= 4 && !strings.Contains(value, "SELECT ") {
			texts = append(texts, text{file: file, line: set.Position(literal.Pos()).Line, lines: strings.Split(value, "\n")})
		}
		return true
	})
	return texts, nil
}

// goComment returns a comment line without its markers. Directives and indented code are empty.
func goComment(line string) string {
	line, isLine := strings.CutPrefix(line, "//")
	if isLine && line != "" && line[0] != ' ' && line[0] != '\t' { // a directive: go:embed, nolint
		return ""
	}
	line = strings.TrimPrefix(line, " ")
	if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "  ") {
		return ""
	}
	return strings.Trim(line, "/* ")
}

// sqlComment returns the text of a comment line of SQL.
func sqlComment(line string) (string, bool) {
	return strings.CutPrefix(strings.TrimSpace(line), "-- ")
}

var descriptionLine = regexp.MustCompile(`^\s*"?(?:description|summary|null|unit)"?:\s*"?(.*?)"?,?$`)

// description returns the text of a description in JSON or YAML that is on one line.
func description(line string) (string, bool) {
	found := descriptionLine.FindStringSubmatch(line)
	if found == nil || len(strings.Fields(found[1])) < 4 {
		return "", false
	}
	return found[1], true
}

// readLines returns the lines of a file that part finds, adjacent lines as one text.
func readLines(file string, part func(line string) (string, bool)) (texts []text, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	open := false
	for number, line := range strings.Split(string(content), "\n") {
		found, ok := part(line)
		if ok && !open {
			texts = append(texts, text{file: file, line: number + 1, prose: filepath.Ext(file) == ".sql"})
		}
		if open = ok; ok {
			last := &texts[len(texts)-1]
			last.lines = append(last.lines, found)
		}
	}
	return texts, nil
}

// readMarkdown returns the paragraphs of a document, without its blocks of code and inline code.
func readMarkdown(file string) (texts []text, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inlineCode := regexp.MustCompile("`[^`]*`")
	fenced, open, number := false, false, 0
	for in := bufio.NewScanner(f); in.Scan(); {
		number++
		line := in.Text()
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced, open = !fenced, false
			continue
		}
		if fenced || strings.TrimSpace(line) == "" {
			open = false
			continue
		}
		begins := strings.HasPrefix(line, "#") || strings.HasPrefix(line, "|") || strings.HasPrefix(strings.TrimSpace(line), "- ")
		if !open || begins {
			texts = append(texts, text{file: file, line: number, prose: !strings.HasPrefix(line, "|")})
		}
		open = !strings.HasPrefix(line, "#")
		last := &texts[len(texts)-1]
		last.lines = append(last.lines, inlineCode.ReplaceAllString(line, "CODE"))
	}
	return texts, nil
}

// check returns the findings of a text, in the order of their lines.
func check(t text) (findings []string) {
	joined := strings.Join(t.lines, " ")
	lineOf := func(at int) int {
		for i, line := range t.lines {
			if at -= len(line) + 1; at < 0 {
				return t.line + i
			}
		}
		return t.line
	}
	type finding struct {
		line int
		text string
	}
	var all []finding
	for _, r := range rules {
		for _, at := range r.pattern.FindAllStringIndex(joined, -1) {
			if found := joined[at[0]:at[1]]; r.except == nil || !r.except.MatchString(joined[at[0]:min(len(joined), at[1]+8)]) {
				line := lineOf(at[0])
				all = append(all, finding{line, fmt.Sprintf("%s:%d: %s: %q", t.file, line, r.name, strings.TrimSpace(found))})
			}
		}
	}
	if t.prose {
		for _, s := range sentences(t.lines) {
			if words := len(strings.Fields(s.text)); words > maxWords {
				line := t.line + s.line
				all = append(all, finding{line, fmt.Sprintf("%s:%d: a sentence of %d words (at most %d): %.60q",
					t.file, line, words, maxWords, s.text)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int { return a.line - b.line })
	for _, f := range all {
		findings = append(findings, f.text)
	}
	return findings
}

// sentence is a sentence and the line of its text it begins at, from 0.
type sentence struct {
	line int
	text string
}

// sentences splits lines into sentences. An empty line, a list item and a semicolon or colon at the end of a clause
// also end one.
func sentences(lines []string) (all []sentence) {
	current := sentence{line: 0}
	finish := func(next int) {
		if strings.TrimSpace(current.text) != "" {
			all = append(all, current)
		}
		current = sentence{line: next}
	}
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "- ") || strings.HasPrefix(trimmed, "* ") || strings.HasPrefix(trimmed, "|") {
			finish(i)
		}
		for word := range strings.FieldsSeq(trimmed) {
			if current.text == "" {
				current.line = i
			}
			current.text += word + " "
			if end := strings.TrimRight(word, `)"'*_`); strings.HasSuffix(end, ".") || strings.HasSuffix(end, ":") ||
				strings.HasSuffix(end, ";") || strings.HasSuffix(end, "?") || strings.HasSuffix(end, "!") {
				finish(i)
			}
		}
	}
	finish(0)
	return all
}
