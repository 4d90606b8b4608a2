package httpapi

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// RawErrors returns a listener whose TCP connections send the errors of net/http in the format of the API. If a
// request cannot be parsed (a malformed escape in the path, headers that are too large), net/http responds in plain
// text before any handler is called. Connections of other types are not changed, so TLS must be added above.
func RawErrors(listener net.Listener) net.Listener { return rawErrorListener{listener} }

type rawErrorListener struct{ net.Listener }

func (l rawErrorListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return rawErrorConn{tcp}, err
	}
	return conn, err
}

// rawErrorConn keeps the other methods of the TCP connection, such as ReadFrom, which sends files without copying.
type rawErrorConn struct{ *net.TCPConn }

// rawErrorHeaders follow the status line in each raw error of net/http, which it writes at once. Responses of handlers
// never begin like this, because net/http sorts their headers.
const rawErrorHeaders = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Write writes p. If p is a raw error of net/http, it writes the error of the API with the same status instead.
func (c rawErrorConn) Write(p []byte) (int, error) {
	head, text, found := bytes.Cut(p, []byte(rawErrorHeaders))
	line, isStatus := bytes.CutPrefix(head, []byte("HTTP/1.1 "))
	var status int
	if !found || !isStatus || bytes.Contains(line, []byte("\r\n")) {
		return c.TCPConn.Write(p)
	}
	if _, err := fmt.Sscanf(string(line), "%d ", &status); err != nil {
		return c.TCPConn.Write(p)
	}
	if _, err := c.TCPConn.Write(rawErrorResponse(status, string(text))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// rawErrorResponse returns the response for a request that net/http cannot parse.
func rawErrorResponse(status int, text string) []byte {
	name := http.StatusText(status)
	problem := web.Problem{Status: status, Code: strings.ToUpper(strings.ReplaceAll(name, " ", "_")), Message: name}
	if _, detail, ok := strings.Cut(text, ": "); ok {
		problem.Message += ": " + detail
	}
	if status == http.StatusRequestHeaderFieldsTooLarge {
		problem.Code = "HEADERS_TOO_LARGE"
	}
	h := http.Header{"Connection": {"close"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	setCommonHeaders(h)
	mediaType, body := problem.Encode(&http.Request{}, h)
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	var response bytes.Buffer
	fmt.Fprintf(&response, "HTTP/1.1 %d %s\r\n", status, name)
	_ = h.Write(&response) // a bytes.Buffer returns no error
	response.WriteString("\r\n")
	response.Write(body)
	return response.Bytes()
}
