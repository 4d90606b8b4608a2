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
	"syscall"
	"unicode"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/voicory/warehouse/warehouse"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// Main is the program with its arguments and streams, so that tests can run a command in their own process.
type Main struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Umask is the umask of the user. It applies to files that a command writes outside the data folder;
	// the umask of the process is stricter.
	Umask fs.FileMode
	// Listening, if not nil, is called with the addresses of the server once it accepts connections: that of the API,
	// and those of --operator-listen and --tables-listen, if they are set.
	Listening func(addresses []string)
	// NoIdleWorkers makes the server start a SQL worker only when a query needs it. Tests with few queries set it.
	NoIdleWorkers bool
	// Exit ends the process if a shutdown takes too long. The default is os.Exit.
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
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitTruncated = 3   // a limit truncated the result of a query
	exitSignal    = 128 // plus the number of the signal that stopped the command
)

// flags is the command line. Every flag can also be set by an environment variable: VOICORY_ and the name in capitals.
type flags struct {
	Data        string `help:"Data folder." default:"data" type:"path"`
	MemoryLimit string `help:"Maximum memory of DuckDB for all tenants together (${default})." default:"600MB" placeholder:"SIZE"`
	JSON        bool   `help:"Machine-readable output." name:"json"`
	LakeMode    string `help:"Which users of the machine can read the published files in lake/: private, group or world. Stored in the data folder; a new folder is private." placeholder:"MODE"`

	Log *slog.Logger `kong:"-"`

	Serve      serveCommand      `cmd:"" help:"Serve the REST API."`
	Ingest     ingestCommand     `cmd:"" help:"Ingest files of rows: JSON, CSV, Parquet or Arrow, each also .gz, .zst or .bz2."`
	Sync       syncCommand       `cmd:"" help:"Pull new rows from a source."`
	Sources    sourcesCommand    `cmd:"" help:"List the sources and the state of their last runs."`
	Quarantine quarantineCommand `cmd:"" help:"List and replay refused rows."`
	Export     exportCommand     `cmd:"" help:"Export rows as Parquet, Arrow, CSV or NDJSON."`
	Query      queryCommand      `cmd:"" help:"Query the published rows of a tenant with SQL."`
	Keys       keysCommand       `cmd:"" help:"Manage API keys."`
	Share      shareCommand      `cmd:"" help:"Share the tables of a tenant with clients of Delta Sharing."`
	Tenants    tenantsCommand    `cmd:"" help:"Manage tenants."`
	Erase      eraseCommand      `cmd:"" help:"Erase a customer from all files, and keep the rows from coming back."`
	Requests   requestsCommand   `cmd:"" help:"Read the request log."`
	Backup     backupCommand     `cmd:"" help:"Write, list and verify backups."`
	Restore    restoreCommand    `cmd:"" help:"Restore a backup into the data folder."`
	Verify     verifyCommand     `cmd:"" help:"Verify all files and rows of the data folder, and print what is damaged."`
	Repair     repairCommand     `cmd:"" help:"Repair the findings of verify, and keep the files that are replaced."`
	Demo       demoCommand       `cmd:"" help:"Create a demo tenant with generated rows and new keys."`
	Version    versionCommand    `cmd:"" help:"Print the versions of the program, DuckDB and Arrow."`
	Man        manCommand        `cmd:"" help:"Print the manual page."`

	Completion kongcompletion.Completion `cmd:"" help:"Print the command that turns on completion in a shell."`

	Licenses licensesCommand `cmd:"" help:"Print the licences of the software that the program is linked with."`
}

// Run runs the command that the arguments name and returns the exit status.
func (m *Main) Run(ctx context.Context) (status int) {
	out := &outputWriter{Writer: m.Stdout}
	m.Stdout = out
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
	kongcompletion.Register(parser) // answers a shell that asks for completions in COMP_LINE
	if exited >= 0 {
		return exited
	}
	command, err := parser.Parse(m.Args)
	if exited >= 0 { // --help was printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(m.Stderr, "voicory: %v; run `voicory --help` for usage\n", err)
		return exitUsage
	}
	err = command.Run()
	if exited >= 0 { // the command ends the program itself
		return exited
	}
	if duckdb.IsInterrupt(err) && ctx.Err() != nil {
		err = ctx.Err() // DuckDB returns an error of its own if it was cancelled
	}
	if err == nil && out.err != nil {
		err = fmt.Errorf("write to standard output: %w", out.err)
	}
	if stopped := (stopSignal{}); errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped) {
		return m.exitStatus(err) + exitSignal - exitFailed + int(stopped.Signal)
	}
	return m.exitStatus(err)
}

// stopSignal is the cause of a context that a signal cancelled.
type stopSignal struct{ syscall.Signal }

// Error returns the name of the signal.
func (s stopSignal) Error() string { return s.String() }

// outputWriter is the standard output of a command. It keeps the first error, so that a command whose output is lost
// fails, even if it does not check its writes.
type outputWriter struct {
	io.Writer
	err error
}

func (o *outputWriter) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// exitStatus prints err as one line and returns the exit status for it. All errors of commands end here.
func (m *Main) exitStatus(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errStrict), errors.Is(err, errIncomplete):
		return exitFailed // the summary was printed already
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(m.Stderr, "voicory: stopped; finished work is kept")
		return exitFailed
	}
	fmt.Fprintln(m.Stderr, "voicory:", err)
	switch {
	case errors.Is(err, warehouse.ErrInvalid):
		return exitUsage
	case errors.Is(err, errTruncated):
		return exitTruncated
	}
	return exitFailed
}

// printResult writes value as JSON if --json is set. Otherwise it calls text.
func (m *Main) printResult(f *flags, value any, text func(io.Writer)) error {
	if !f.JSON {
		text(m.Stdout)
		return nil
	}
	encoder := json.NewEncoder(m.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printable returns text, quoted if it has characters that could control a terminal or break a table.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToGraphic(text)
	}
	return text
}

// isTerminal reports whether w is a terminal. Progress is shown only on a terminal.
func isTerminal(w io.Writer) bool {
	if out, ok := w.(*outputWriter); ok {
		w = out.Writer
	}
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
