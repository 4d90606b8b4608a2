package httpapi

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/formats.md names the media types of a push.
func TestPush_DocumentedMediaTypes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Names and media types\n")
	section, _, _ = strings.Cut(section, "\n#")
	var got []string
	for _, match := range regexp.MustCompile("`((application|text)/[^`]+)`").FindAllStringSubmatch(section, -1) {
		got = append(got, match[1])
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(maps.Keys(pushFormats))) {
		t.Errorf("got %v, want %v", got, slices.Sorted(maps.Keys(pushFormats)))
	}
}
