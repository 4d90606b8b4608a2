package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Listen listens on the operator's socket. The caller holds the lock of the data folder, so an existing socket is a
// leftover of a process that was killed, and is removed. The socket never has a wider mode than 0600: Linux creates it
// with the mode of its descriptor, and on other systems the umask of the process applies.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	listener, err := (&net.ListenConfig{Control: chmodSocket}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w; if its path is longer than 100 characters, choose a shorter --data", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), listener.Close())
	}
	return listener, nil
}

// chmodSocket sets the mode of a socket before it is bound. It ignores errors, because Listen sets the mode again.
func chmodSocket(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}
