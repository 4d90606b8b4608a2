package control

import "errors"

// Kinds of errors of keys and tenants. Errors of this package wrap one of them, or one of package schema, and describe
// the operation.
var (
	ErrInvalidKey = errors.New("invalid API key")          // unknown or malformed key
	ErrRevokedKey = errors.New("API key has been revoked") // known key that was revoked
	ErrExpiredKey = errors.New("API key has expired")      // known key past its expiry

	ErrTenantDeleted = errors.New("tenant was deleted")
)
