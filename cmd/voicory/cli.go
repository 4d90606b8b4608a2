package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse"
)

// Main is the program, with its surroundings given: tests run it as a person would.
type Main struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Umask is that of the user, for the files that a command writes outside of the data folder. The process has a stricter one.
	Umask fs.FileMode
	// Listening, when set, is told the address of a server that has begun to listen.
	Listening func(address string)
	// Exit ends the process if a stop takes too long; default: os.Exit.
	Exit func(status int)
}

func (m *Main) exit(status int) {
	if m.Exit == nil {
		os.Exit(status)
	}
	m.Exit(status)
}

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// flags is the command line. Every flag is also an environment variable: VOICORY_ and its name.
type flags struct {
	Data        string `help:"Data folder." default:"data" type:"path"`
	MemoryLimit string `help:"Memory that DuckDB may use, for all tenants together (${default})." default:"600MB" placeholder:"SIZE"`
	JSON        bool   `help:"Machine-readable output." name:"json"`
	LakeMode    string `help:"Users of the machine that may read the published files in lake/: private, group or world. Stored with the data folder; private for a new one." placeholder:"MODE"`

	Log *slog.Logger `kong:"-"`

	Serve      serveCommand      `cmd:"" help:"Serve the REST API."`
	Ingest     ingestCommand     `cmd:"" help:"Take files of rows in: NDJSON, CSV or Parquet, each also .gz or .zst."`
	Sync       syncCommand       `cmd:"" help:"Pull what is new from where rows come from."`
	Sources    sourcesCommand    `cmd:"" help:"List what is pulled from, and how that goes."`
	Quarantine quarantineCommand `cmd:"" help:"Rows that were refused."`
	Export     exportCommand     `cmd:"" help:"Write rows in bulk: Parquet, Arrow, CSV or NDJSON."`
	Query      queryCommand      `cmd:"" help:"Ask a tenant's published rows, in SQL."`
	Keys       keysCommand       `cmd:"" help:"API keys."`
	Tenants    tenantsCommand    `cmd:"" help:"Tenants."`
	Requests   requestsCommand   `cmd:"" help:"Read the request log."`
	Demo       demoCommand       `cmd:"" help:"Make a demo tenant with invented data, and its keys."`
	Version    versionCommand    `cmd:"" help:"Print the versions of the program, DuckDB and Arrow."`
	Licenses   licensesCommand   `cmd:"" help:"Print the licences of the software that the program is linked with."`
}

// Run does what the arguments say and returns the exit status.
func (m *Main) Run(ctx context.Context) (status int) {
	f := flags{Log: slog.New(slog.NewTextHandler(m.Stderr, nil))}
	exited := -1
	parser, err := kong.New(&f,
		kong.Name("voicory"),
		kong.Description("A warehouse for Voicory's calls, customers and messages: REST, Parquet and SQL."),
		kong.DefaultEnvars("VOICORY"),
		kong.Writers(m.Stdout, m.Stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(m, &f),
	)
	if err != nil {
		fmt.Fprintln(m.Stderr, "voicory:", err)
		return exitFailed
	}
	command, err := parser.Parse(m.Args)
	if exited >= 0 { // help was asked for
		return exited
	}
	if err != nil {
		fmt.Fprintf(m.Stderr, "voicory: %v; `voicory --help` shows what there is\n", err)
		return exitUsage
	}
	err = command.Run()
	if interrupted := (*duckdb.Error)(nil); errors.As(err, &interrupted) && interrupted.Type == duckdb.ErrorTypeInterrupt && ctx.Err() != nil {
		err = ctx.Err() // DuckDB says in its own way that it was stopped
	}
	return m.exitStatus(err)
}

// exitStatus is the one place where errors become an exit status and a line for the user.
func (m *Main) exitStatus(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errStrict):
		return exitFailed // the summary has said it
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(m.Stderr, "voicory: stopped; what was finished is kept")
		return exitFailed
	}
	fmt.Fprintln(m.Stderr, "voicory:", err)
	if errors.Is(err, warehouse.ErrInvalid) {
		return exitUsage
	}
	return exitFailed
}

// print writes a result: as JSON where that was asked for, else as text.
func (m *Main) printResult(f *flags, value any, text func(io.Writer)) error {
	if !f.JSON {
		text(m.Stdout)
		return nil
	}
	encoder := json.NewEncoder(m.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printable is a text from outside as it can be shown on a terminal and in a table.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToGraphic(text)
	}
	return text
}

// isTerminal tells whether progress may be shown.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
