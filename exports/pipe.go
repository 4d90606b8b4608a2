package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
)

// chunk is what is taken from the pipe at a time.
const chunk = 64 << 10

// copyTo has DuckDB write the statement's rows into a pipe, and passes on what comes out of it. Whoever stops taking stops the writing:
// DuckDB finds the pipe closed, or is interrupted where it does not write.
func copyTo(ctx context.Context, conn *sql.Conn, statement, options string, out io.Writer) (rows int64, err error) {
	from, to, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("pipe: %w", err)
	}
	defer from.Close()
	widen(from)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	copied := make(chan error, 1)
	go func() {
		result, err := conn.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO '/dev/fd/%d' (%s)", statement, to.Fd(), options))
		if err == nil {
			rows, err = result.RowsAffected()
		}
		if err != nil {
			from.Close() // nothing more comes
		}
		to.Close()
		copied <- err
	}()
	failed := pass(from, out)
	if failed != nil {
		from.Close()
		cancel()
	}
	err = <-copied
	if failed != nil {
		return 0, failed // the other error is only what came of it
	}
	return rows, err
}

// pass passes on all that can be read, and returns why not all of it was taken. That it cannot be read to its end, the other side tells.
func pass(from io.Reader, out io.Writer) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the end, or what the other side tells
		}
	}
}
