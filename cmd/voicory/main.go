// Command voicory ingests rows, stores them per tenant in DuckDB and as Parquet, and serves them over HTTP. See
// README.md.
//
// Package main has the flags of each command and prints the results. A command runs operations of package admin, on the
// data folder or in the server that has the folder open. Package main contains no SQL, and no rules about rows.
//
// Package server runs the server. The only goroutine that this package starts, apart from readers of pipes, waits for
// signals. It holds no locks.
package main

import (
	"context"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/ingest/filereader"
)

func main() {
	if len(os.Args) == 2 { // the server starts its worker processes from its own binary
		switch os.Args[1] {
		case query.WorkerArgument:
			os.Exit(query.Work())
		case filereader.Argument:
			os.Exit(filereader.Run())
		}
	}
	umask := syscall.Umask(0o077)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		received := <-signals
		signal.Stop(signals) // restores the default handler: a second signal kills the process
		cancel(stopSignal{received.(syscall.Signal)})
	}()
	program := Main{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Umask: fs.FileMode(umask)}
	os.Exit(program.Run(ctx))
}
