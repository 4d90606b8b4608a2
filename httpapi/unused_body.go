package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// maxUnusedBody bounds the body of a request whose method has none, in bytes.
const maxUnusedBody = 4 << 10

// withoutBody returns a handler for methods without a body. If a client sends one, the handler reads it to its end
// before the request takes a slot, and ignores it. Otherwise net/http would read it before it sends the head of the
// response: a client that sends less than it declares would keep the request's slot, and the server would not notice
// that the client leaves. When the body has ended, net/http removes the read deadline, so requests that run longer
// than the deadline are not affected.
func withoutBody(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.ContentLength == 0 {
			return h(w, r)
		}
		web.SetReadDeadline(w, time.Now().Add(stallTimeout))
		n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxUnusedBody+1))
		switch {
		case n > maxUnusedBody:
			return &web.Problem{Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
				Message: fmt.Sprintf("A body of this method is ignored and may have at most %d bytes", maxUnusedBody)}
		case errors.Is(err, os.ErrDeadlineExceeded):
			stateOf(r).impatient.Store(true)
			return &web.Problem{Status: http.StatusRequestTimeout, Code: "REQUEST_TIMEOUT",
				Message: fmt.Sprintf("The body did not arrive in %v", stallTimeout)}
		case err != nil:
			return fmt.Errorf("%w: %w", errGone, err)
		}
		return h(w, r)
	}
}
