package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"

	"github.com/voicory/warehouse/warehouse/sandbox"
)

// chunkSize is the size in bytes of the buffers between DuckDB and a client.
const chunkSize = 256 << 10

// copyTo runs the statement as a COPY into a pipe, copies the pipe's output to out, and returns the number of rows.
//
// If a write to out fails, copyTo interrupts DuckDB but reads the pipe to its end. If the pipe were closed first,
// DuckDB's next write would raise SIGPIPE on a thread that Go does not manage, which ends the process. DuckDB writes
// no temporary file, because it would try to rename the pipe.
func copyTo(
	ctx context.Context, conn *sql.Conn, statement, options string, out io.Writer,
) (rows int64, err error) {
	from, to, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("pipe: %w", err)
	}
	defer from.Close()
	sandbox.WidenPipe(from)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	written := make(chan error, 1)
	go func() {
		result, err := conn.ExecContext(ctx,
			fmt.Sprintf("COPY (%s) TO '/dev/fd/%d' (%s, USE_TMP_FILE false)", statement, to.Fd(), options))
		if err == nil {
			rows, err = result.RowsAffected()
		} else {
			// After a failed statement, DuckDB closes its end of the pipe only when the next statement runs.
			// The result of that statement does not matter.
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT 1")
		}
		to.Close()
		written <- err
	}()
	writeErr := copyAll(from, out, cancel)
	if err = <-written; writeErr != nil {
		return 0, writeErr // the COPY then fails only because it was interrupted
	}
	return rows, err
}

// copyAll copies from the reader to out until the reader ends. If a write fails, it calls stop, discards the rest of
// the input, and returns the write's error. Read errors are not returned, since the COPY reports why the input ended.
func copyAll(from io.Reader, out io.Writer, stop func()) (writeErr error) {
	buffer := make([]byte, chunkSize)
	for {
		trimHeap()
		n, err := from.Read(buffer)
		if n > 0 && writeErr == nil {
			if _, writeErr = out.Write(buffer[:n]); writeErr != nil {
				stop()
			}
		}
		if err != nil {
			return writeErr
		}
	}
}
