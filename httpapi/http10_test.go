package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse/control"
)

// HTTP/1.0 marks the end of a response without Content-Length only by closing the connection. A complete response
// ends with FIN (or close_notify), and one that ends early never does.
func TestHTTP10_AbortedResponsesDoNotLookComplete(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	b.fill(t, filled)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	query := `{"sql": "SELECT id, summary, summary AS again FROM calls", "format": "csv"}`
	for _, test := range []struct{ method, path, body string }{
		{"GET", "/api/v1/exports/calls?format=csv", ""},
		{"POST", "/api/v1/query", query},
	} {
		for _, secured := range []bool{false, true} {
			for _, end := range []string{"complete", "revoked", "server closed"} {
				t.Run(fmt.Sprintf("%s TLS %v %s", test.path, secured, end), func(t *testing.T) {
					created, key, err := b.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
					noError(t, err)
					server := smallBuffers(httptest.NewUnstartedServer(b.Config.Handler))
					connections := httpapi.NewConnections(nil)
					server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
						noError(t, httpapi.CutStalled(conn, time.Minute))
						return connections.Opened(ctx, conn)
					}
					if secured {
						server.StartTLS()
					} else {
						server.Start()
					}
					defer server.Close()
					conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
					noError(t, err)
					defer conn.Close()
					if end != "complete" { // the response must not fit into the buffers
						noError(t, conn.(*net.TCPConn).SetReadBuffer(8<<10))
					}
					if secured {
						conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test server
					}
					_, err = fmt.Fprintf(conn,
						"%s %s HTTP/1.0\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
						test.method, test.path, key, len(test.body), test.body)
					noError(t, err)
					head := make([]byte, 20_000)
					_, err = io.ReadFull(conn, head)
					noError(t, err)
					if !bytes.HasPrefix(head, []byte("HTTP/1.0 200 OK\r\n")) || bytes.Contains(head, []byte("\r\nContent-Length:")) {
						t.Fatalf("got %.300s", head)
					}
					switch end {
					case "revoked":
						_, err = b.warehouse.RevokeKey(t.Context(), created.ID)
						noError(t, err)
					case "server closed":
						noError(t, server.Config.Close())
					}
					_, err = io.Copy(io.Discard, conn)
					if (err == nil) != (end == "complete") {
						t.Errorf("got the end %v of a response that is %s", err, end)
					}
				})
			}
		}
	}
}
