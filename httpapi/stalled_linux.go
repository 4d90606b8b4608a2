package httpapi

import (
	"crypto/tls"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CutStalled has the kernel end a TCP connection whose peer has taken nothing of what was sent for so long. A write deadline cannot tell
// such a client from a slow one: what a slow one takes is taken from the kernel's buffer, and from a full one for many minutes.
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
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after/time.Millisecond))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("cut stalled connections: %w", err)
	}
	return nil
}
