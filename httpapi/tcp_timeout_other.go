//go:build !linux

package httpapi

import (
	"net"
	"time"
)

// CutStalled does nothing, because this system has no such socket option. Write deadlines bound the time of a
// whole response.
func CutStalled(net.Conn, time.Duration) error { return nil }
