package httpapi

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxUnsent is the number of unsent bytes that the kernel buffers for a connection. The default is 4 MB, and the
// kernel accepts more only after a third of it has been sent. With that default, a slow client would look for many
// minutes as if it read nothing.
const maxUnsent = 128 << 10

// CutStalled makes the kernel close a TCP connection if the peer acknowledges none of the sent data for the given
// time. It also limits the unsent data in the kernel, so that writes to a slow peer return after each small part
// that the peer reads.
//
// A write deadline alone cannot distinguish a stalled peer from a slow one: it bounds the time for a whole write,
// not the time without progress. CutStalled does nothing if conn is not a system connection, and returns the error
// of a failed system call.
func CutStalled(conn net.Conn, after time.Duration) error {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return fmt.Errorf("cut stalled connections: %w", err)
	}
	var failed error
	err = control.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after/time.Millisecond)),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("cut stalled connections: %w", err)
	}
	return nil
}
