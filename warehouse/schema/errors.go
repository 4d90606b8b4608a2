package schema

import "errors"

// Kinds of errors. Errors of this package and of those that import it wrap one of them and describe the operation.
var (
	ErrInvalid  = errors.New("invalid")   // invalid argument or request
	ErrNotFound = errors.New("not found") // unknown row, key, tenant, export or file
)
