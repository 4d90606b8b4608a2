//go:build !linux

package httpapi

import (
	"net"
	"time"
)

// CutStalled does nothing where the kernel cannot be told: there, the time that an answer may take in all is the bound.
func CutStalled(net.Conn, time.Duration) error { return nil }
