package admin

import "context"

// Address returns the URL of the API of the running server, or "" if no server runs.
var Address = operation("address", func(_ context.Context, l *Local, _ None) (string, error) {
	return l.Address, nil
})
