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

// maxUnsent is how many bytes the kernel takes of an answer before the peer has room for them. By itself it takes 4 MB, and the next only
// when a third of these is gone: to a deadline, whoever reads slowly would look for many minutes as if he took nothing.
const maxUnsent = 128 << 10

// CutStalled has the kernel end a TCP connection whose peer has taken nothing of what was sent for so long, and lets a write to a slow one
// go on with every few pieces that it takes. A write deadline alone cannot tell them apart: it ends with the answer's size, not with what
// is taken.
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
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after/time.Millisecond)),
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
