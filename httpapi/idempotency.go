package httpapi

import (
	"net/http"
	"regexp"
	"sync"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

var goodIdempotencyKey = regexp.MustCompile(`^[!-~]{8,128}$`)

// idempotencyKey returns the Idempotency-Key header, or "" if the request has none. It returns a 400 problem if
// the key is malformed.
func idempotencyKey(h http.Header) (string, error) {
	names := h.Values("Idempotency-Key")
	if len(names) == 0 {
		return "", nil
	}
	// The name is stored, so it must not be an API key.
	if len(names) > 1 || !goodIdempotencyKey.MatchString(names[0]) || control.MaskKeys(names[0]) != names[0] {
		return "", &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_IDEMPOTENCY_KEY",
			Message: "An Idempotency-Key has 8 to 128 visible ASCII characters, and is not an API key"}
	}
	return names[0], nil
}

// idempotencyKeys holds the idempotency keys of the pushes in progress.
type idempotencyKeys struct {
	mu    sync.Mutex
	inUse map[string]bool // by tenant and key; guarded by mu
}

func newIdempotencyKeys() idempotencyKeys { return idempotencyKeys{inUse: map[string]bool{}} }

// enter marks the key as in use until release is called, or returns IDEMPOTENCY_KEY_IN_USE if the key is in use
// already. An empty name is never in use.
func (k *idempotencyKeys) enter(tenant uuid.UUID, name string) (release func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	full := tenant.String() + " " + name
	if k.inUse[full] {
		return nil, &web.Problem{Status: http.StatusConflict, Code: "IDEMPOTENCY_KEY_IN_USE",
			Message: "A push with this Idempotency-Key is in progress"}
	}
	k.inUse[full] = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.inUse, full)
	}, nil
}
