package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

type versionCommand struct{}

// versions lists the versions that a bug report needs.
type versions struct {
	Version  string `json:"version"`  // of the module: a tag, or (devel)
	Commit   string `json:"commit"`   // empty if the build was not from a Git checkout
	Modified bool   `json:"modified"` // true if the checkout had uncommitted changes
	DuckDB   string `json:"duckdb"`
	Arrow    string `json:"arrow"` // arrow-go
	Go       string `json:"go"`
	Platform string `json:"platform"` // operating system and architecture
}

// Run prints the versions of the program, DuckDB and Arrow.
func (c *versionCommand) Run(m *Main, f *flags) error {
	v := programVersions()
	return m.printResult(f, v, func(out io.Writer) {
		commit := cmp.Or(v.Commit, "unknown: not built from a Git clone")
		if v.Modified {
			commit += " with uncommitted changes"
		}
		fmt.Fprintf(out, "voicory %s\ncommit   %s\nDuckDB   %s\nArrow    %s\nGo       %s\nplatform %s\n",
			v.Version, commit, v.DuckDB, v.Arrow, v.Go, v.Platform)
	})
}

// programVersions returns the versions in the build information of the binary, and the one that DuckDB reports.
func programVersions() versions {
	v := versions{DuckDB: duckdb.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, module := range info.Deps {
		if module.Path == "github.com/apache/arrow-go/v18" {
			v.Arrow = module.Version
		}
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Commit = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}
