package ingest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/schema"
)

// section returns the section of docs/formats.md below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("docs/formats.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	return section
}

// examples returns the rows of the table of two columns below a heading, without marks of code. Escapes are those of
// Go.
func examples(t *testing.T, heading string) (examples [][2]string) {
	t.Helper()
	escapes := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\N`, `\N`)
	for line := range strings.Lines(section(t, heading)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | "); strings.HasPrefix(line, "| `") {
			examples = append(examples, [2]string{escapes.Replace(strings.Trim(cells[0], "`")),
				strings.ReplaceAll(cells[1], "`", "")})
		}
	}
	if len(examples) == 0 {
		t.Fatalf("section %q has no examples", heading)
	}
	return examples
}

// codes returns the texts in a section that are marked as code and match the pattern, sorted.
func codes(section, pattern string) (found []string) {
	for _, match := range regexp.MustCompile("`("+pattern+")`").FindAllStringSubmatch(section, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// docs/formats.md names the extensions, codecs and refused formats of the code.
func TestFormats_Names(t *testing.T) {
	t.Parallel()
	if got, want := codes(section(t, "Names and media types"), `\.[a-z]+`),
		slices.Sorted(maps.Keys(formatOf)); !slices.Equal(got, want) {
		t.Errorf("got extensions %v, want %v", got, want)
	}
	compression := section(t, "Compression")
	if got, want := codes(compression, `\.[a-z0-9]+`), slices.Sorted(slices.Values(packedExtensions)); !slices.Equal(got,
		want) {
		t.Errorf("got extensions %v, want %v", got, want)
	}
	for _, codec := range codecs {
		if !strings.Contains(compression, "| "+codec.name+" |") {
			t.Errorf("codec %s is missing", codec.name)
		}
	}
	notRead := strings.ReplaceAll(section(t, "Formats that are not read"), "\n", " ")
	for _, refused := range refusedContent {
		name, _, _ := strings.Cut(strings.TrimPrefix(refused.reason, "it is "), ", which")
		if !strings.Contains(notRead, name) {
			t.Errorf("%q is missing", name)
		}
	}
}

// The examples of docs/formats.md are read as it says.
func TestFormats_Examples(t *testing.T) {
	t.Parallel()
	for heading, reader := range map[string]func(text string) rowReader{
		"JSON": func(text string) rowReader { return newJSONReader(strings.NewReader(text), schema.Calls) },
		"CSV":  func(text string) rowReader { return newCSVReader(strings.NewReader(text), schema.Calls) },
	} {
		for _, example := range examples(t, heading) {
			rows, _, failure := readRows(t, reader(example[0]))
			var texts []string
			for _, row := range rows {
				if row.text = strings.ReplaceAll(row.text, "\n", ""); row.defect != "" {
					row.text = "refused"
				}
				texts = append(texts, row.text)
			}
			if got := strings.Join(texts, " "); got != example[1] || failure != nil {
				t.Errorf("%q: got %s and %v, docs/formats.md says %s", example[0], got, failure, example[1])
			}
		}
	}
	for _, example := range examples(t, "Names of columns") {
		fields, err := schema.Calls.Headers(strings.Split(example[0], ","))
		if got := strings.Join(fields, ","); got != example[1] && (err == nil || example[1] != "refused") {
			t.Errorf("%s: got %s and %v, docs/formats.md says %s", example[0], got, err, example[1])
		}
	}
}

// Phone numbers are compared as docs/formats.md says.
func TestFormats_PhoneNumbers(t *testing.T) {
	t.Parallel()
	for _, example := range examples(t, "Phone numbers") {
		if got := schema.Caller(example[0]); got != example[1] {
			t.Errorf("%s: got %s, docs/formats.md says %s", example[0], got, example[1])
		}
	}
}

// docs/formats.md names the writers of the test files.
func TestFormats_Writers(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("testdata/writers")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"go"}
	for _, file := range files {
		name := regexp.MustCompile("^[a-z]+").FindString(file.Name())
		if name != "make" && name != "requirements" && name != "rows" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var got []string
	for _, row := range examples(t, "Writers") {
		got = append(got, row[0])
	}
	if slices.Sort(got); !slices.Equal(got, slices.Compact(names)) {
		t.Errorf("got writers %v, want %v", got, names)
	}
}
