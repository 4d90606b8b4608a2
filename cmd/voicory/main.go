// Command voicory is the warehouse: it takes rows in, keeps them and serves them. See README.md.
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
	if len(os.Args) == 2 { // the server starts itself as one of these
		switch os.Args[1] {
		case query.WorkerArgument:
			os.Exit(query.Work())
		case filereader.Argument:
			os.Exit(filereader.Run())
		}
	}
	umask := syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	program := Main{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Umask: fs.FileMode(umask)}
	status := program.Run(ctx)
	stop()
	os.Exit(status)
}
