package web

import (
	"context"
	"crypto/tls"
	"net"
)

// endByClose is the end of a response that HTTP/1.0 marks only by closing the connection: it has no Content-Length,
// and HTTP/1.0 has no chunks. If the connection were closed in the usual way (FIN) in the middle of such a response,
// the client or proxy would take the part for the whole.
//
// So the connection is set to send RST when it is closed, before the first byte of the response, and back to FIN
// after the last. The kernel then sends RST for every reason that a response ends early: a failure, a revoked key, a
// deadline, a server that stops, or a process that is killed.
type endByClose struct{ tcp tcpConn }

// tcpConn is a *net.TCPConn, or a type that embeds one.
type tcpConn interface {
	net.Conn
	SetLinger(seconds int) error
}

// defaultLinger makes a closed connection send its unsent data and FIN.
const defaultLinger = -1

// beginEndByClose makes closing the connection send RST. It returns nil if conn is not a TCP connection.
func beginEndByClose(conn net.Conn) *endByClose {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	tcp, ok := conn.(tcpConn)
	if !ok {
		return nil
	}
	_ = tcp.SetLinger(0) // fails only if the connection is closed
	return &endByClose{tcp}
}

// complete makes closing the connection send FIN again, after all data.
func (e *endByClose) complete() { _ = e.tcp.SetLinger(defaultLinger) }

// abort closes the connection below TLS, because closing TLS would announce a complete response (close_notify).
func (e *endByClose) abort() { _ = e.tcp.Close() }

type connKey struct{}

// WithConn returns a context with the connection of a request. It is for [http.Server.ConnContext].
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// connOf returns the connection of a request, or nil if the server does not record it.
func connOf(ctx context.Context) net.Conn {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	return conn
}
