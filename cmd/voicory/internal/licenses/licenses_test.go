package licenses

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write modules.txt.gz")

// licenseName matches the names of files that a distributor of a module must pass on.
var licenseName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|authors)(\.(txt|md))?$`)

// linked are the module and folder of a package that the binary is linked with.
type linked struct {
	Dir    string
	Module *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// linkedPackages returns the packages that the binary is linked with, except those of this module.
var linkedPackages = sync.OnceValues(func() (packages []linked, err error) {
	list := exec.CommandContext(context.Background(), "go", "list", "-deps", "-json=Dir,Module", "-tags=duckdb_arrow",
		"github.com/voicory/warehouse/cmd/voicory")
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=1", "GOFLAGS=")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p linked
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil && !p.Module.Main {
			packages = append(packages, p)
		}
	}
})

// collect returns the licence texts of the linked modules: those in the folders of linked packages and in the folders
// above them.
func collect(t *testing.T) string {
	t.Helper()
	names := map[string][]string{} // of modules, by the text
	modules := map[string]bool{}
	packages, err := linkedPackages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		modules[p.Module.Path] = modules[p.Module.Path] || false
		for dir := p.Dir; strings.HasPrefix(dir, p.Module.Dir); dir = filepath.Dir(dir) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				if entry.IsDir() || !licenseName.MatchString(entry.Name()) {
					continue
				}
				content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
				if err != nil {
					t.Fatal(err)
				}
				text := strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n"))
				name := p.Module.Path + " " + p.Module.Version
				if below, _ := filepath.Rel(p.Module.Dir, dir); below != "." {
					name += " (" + filepath.ToSlash(below) + ")"
				}
				if !slices.Contains(names[text], name) {
					names[text] = append(names[text], name)
				}
				if p.Module.Path == "golang.org/x/sys" && !slices.Contains(names[text], "Go") {
					names[text] = append(names[text], "Go") // the standard library and the runtime have the same
				}
				modules[p.Module.Path] = true
			}
		}
	}
	for module, found := range modules {
		if !found {
			t.Errorf("module %s has no licence file", module)
		}
	}
	var texts []string
	for text, of := range maps.All(names) {
		slices.Sort(of)
		texts = append(texts, strings.Join(of, "\n")+"\n\n"+text+"\n")
	}
	slices.Sort(texts)
	rule := strings.Repeat("=", 80) + "\n"
	return rule + strings.Join(texts, rule) + rule
}

func TestModules_AreThoseLinked(t *testing.T) {
	want := collect(t)
	if *update {
		var packed bytes.Buffer
		out, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, want); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(out.Close(), os.WriteFile("modules.txt.gz", packed.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := gzip.NewReader(bytes.NewReader(modules))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("modules.txt.gz has other texts than the linked modules (%d bytes, want %d); run `go test "+
			"./cmd/voicory/internal/licenses -update`", len(got), len(want))
	}
}

// Each library that the static library of DuckDB contains has a licence in duckdb.txt.gz.
func TestDuckDB_EachLibraryHasALicence(t *testing.T) {
	var text bytes.Buffer
	if err := WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	libraries := 0
	packages, err := linkedPackages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		archives, err := filepath.Glob(filepath.Join(p.Dir, "lib*.a"))
		if err != nil {
			t.Fatal(err)
		}
		for _, archive := range archives {
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(archive), "lib"), ".a")
			name = strings.TrimSuffix(strings.TrimPrefix(name, "duckdb_"), "_extension")
			switch name {
			case "static", "generated_extension_loader", "autocomplete", "core_functions", "json", "tpcds", "parquet":
				name = "DuckDB" // its own
			case "pg_query":
				name = "libpg_query"
			case "skiplistlib":
				name = "skiplist"
			}
			libraries++
			if !strings.Contains(text.String(), fmt.Sprintf("\nDuckDB: %s\n", name)) && name != "DuckDB" {
				t.Errorf("no licence of %s", name)
			}
		}
	}
	if libraries == 0 {
		t.Error("found no library")
	}
}
