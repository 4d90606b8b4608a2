// Command voicory is the warehouse: it takes rows in, keeps them and serves them. See README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/voicory/warehouse/exports/query"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == query.WorkerArgument { // the server starts itself so for each query
		os.Exit(query.Work())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	program := Main{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	status := program.Run(ctx)
	stop()
	os.Exit(status)
}
