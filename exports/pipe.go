package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"

	"github.com/voicory/warehouse/warehouse/sandbox"
)

// chunk is what is passed on at a time.
const chunk = 256 << 10

// copyTo has DuckDB write the statement's rows into a pipe, and passes on what comes out of it. When out takes no more, DuckDB is
// interrupted, and what it still writes is read all the same: a write into a closed pipe, on a thread that is not Go's, would be the
// end of the process (SIGPIPE). A temporary file is what DuckDB would rename, and a pipe cannot be.
func copyTo(ctx context.Context, conn *sql.Conn, statement, options string, out io.Writer) (rows int64, err error) {
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
		result, err := conn.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO '/dev/fd/%d' (%s, USE_TMP_FILE false)", statement, to.Fd(), options))
		if err == nil {
			rows, err = result.RowsAffected()
		} else {
			// DuckDB lets go of a statement that failed, and of the pipe, when it is given the next; whatever becomes of that.
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT 1")
		}
		to.Close()
		written <- err
	}()
	failed := pass(from, out, cancel)
	if err = <-written; failed != nil {
		return 0, failed // the other error is only what came of it
	}
	return rows, err
}

// pass passes on all that can be read, and returns why not all of it was taken; then it has called stop. That it cannot be read to its
// end, the other side tells.
func pass(from io.Reader, out io.Writer, stop func()) (failed error) {
	buffer := make([]byte, chunk)
	for {
		trim()
		n, err := from.Read(buffer)
		if n > 0 && failed == nil {
			if _, failed = out.Write(buffer[:n]); failed != nil {
				stop()
			}
		}
		if err != nil {
			return failed
		}
	}
}
