package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	link      = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	filePath  = regexp.MustCompile(`^[\w.-]+(/[\w.*-]+)*$`)
	fileName  = regexp.MustCompile(`\w\.(go|sql|json|ya?ml|md|sh|sha256)$`)
	makeRule  = regexp.MustCompile("(?m)(?:^|`)make ([a-z]+)")
	codeBlock = regexp.MustCompile("(?s)```.*?```")
)

// Each file, folder and make target that the documents for contributors name exists. Paths are relative to the root of
// the repository. Names with a placeholder, such as NNN, are skipped, and the files of the data folder.
func TestContributorDocs_NameExistingFiles(t *testing.T) {
	t.Parallel()
	const root = "../.."
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	noError(t, err)
	for _, document := range []string{"CONTRIBUTING.md", "ARCHITECTURE.md"} {
		content, err := os.ReadFile(filepath.Join(root, document))
		noError(t, err)
		text, _, _ := strings.Cut(string(content), "\n## State, and what a loss means")
		for _, match := range makeRule.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+match[1]+":") {
				t.Errorf("%s: the Makefile has no target %s", document, match[1])
			}
		}
		var paths []string
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			paths = append(paths, match[1])
		}
		for _, match := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			path := strings.TrimPrefix(match[1], "./")
			first, _, isPath := strings.Cut(path, "/")
			_, missing := os.Stat(filepath.Join(root, first)) // such as internal/worker of exports/query
			if filePath.MatchString(path) && !strings.Contains(path, "NNN") && path != "doc.go" &&
				(fileName.MatchString(path) || isPath && missing == nil) {
				paths = append(paths, path)
			}
		}
		for _, path := range paths {
			if found, err := filepath.Glob(filepath.Join(root, path)); err != nil || len(found) == 0 {
				t.Errorf("%s: %s does not exist; name it by its path from the root of the repository", document, path)
			}
		}
	}
}
