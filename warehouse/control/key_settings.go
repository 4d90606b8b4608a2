package control

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
)

// KeySettings are the properties of a key that can be set when it is created, and changed later.
type KeySettings struct {
	Label     string     `json:"label"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: never
	RateLimit string     `json:"rate_limit"` // for example 600/1m,50/5s or none; "": the server's limit
	// Web origins whose pages may use a public key, or read files by the signed URLs of a secret key; "*" allows any.
	Origins []string `json:"origins"`
	// Limits for SQL run with a secret key. 0 means the server's limit.
	QueryRows  int64        `json:"query_rows"`    // rows of a result
	QueryBytes int64        `json:"query_bytes"`   // bytes of a result, in its output format
	QueryTime  Milliseconds `json:"query_time_ms"` // duration of a query, including reading its result
	AllowErase bool         `json:"allow_erase"`   // the secret key may erase customers
}

// AllowsOrigin reports whether web pages of the origin may use the key, or its signed URLs if it is secret.
func (s KeySettings) AllowsOrigin(origin string) bool {
	return slices.Contains(s.Origins, origin) || slices.Contains(s.Origins, anyOrigin)
}

// normalize brings the settings into the form in which they are stored. It returns schema.ErrInvalid for settings that
// have no effect on a key of the type, or that are malformed.
func (s *KeySettings) normalize(typ KeyType) error {
	if s.QueryRows < 0 || s.QueryBytes < 0 || s.QueryTime < 0 {
		return fmt.Errorf("%w: query limits must not be negative", schema.ErrInvalid)
	}
	if typ != Secret && (s.QueryRows > 0 || s.QueryBytes > 0 || s.QueryTime > 0) {
		return fmt.Errorf("%w: only a secret key has query limits; a public key cannot run queries", schema.ErrInvalid)
	}
	if typ != Secret && s.AllowErase {
		return fmt.Errorf("%w: only a secret key may erase customers", schema.ErrInvalid)
	}
	origins := make([]string, len(s.Origins)) // a new list, not nil: it is encoded in JSON as []
	for i, text := range s.Origins {
		if origins[i] = text; text == anyOrigin {
			continue
		}
		origin, err := parseOrigin(text)
		if err != nil {
			return err
		}
		origins[i] = origin
	}
	s.Origins = origins
	if s.ExpiresAt != nil {
		at := s.ExpiresAt.UTC().Truncate(time.Millisecond)
		s.ExpiresAt = &at
	}
	return nil
}

// args returns the settings as parameters of control/add_key and control/update_key.
func (s *KeySettings) args() []any {
	origins, err := json.Marshal(s.Origins)
	if err != nil {
		panic(err) // marshalling strings cannot fail
	}
	var expires any // the driver rejects a nil pointer
	if s.ExpiresAt != nil {
		expires = *s.ExpiresAt
	}
	return []any{
		sql.Named("label", s.Label),
		sql.Named("expires_at", expires),
		sql.Named("rate_limit", s.RateLimit),
		sql.Named("origins", string(origins)),
		sql.Named("query_rows", s.QueryRows),
		sql.Named("query_bytes", s.QueryBytes),
		sql.Named("query_time_ms", int64(s.QueryTime)),
		sql.Named("allow_erase", s.AllowErase),
	}
}

// Milliseconds is a duration that JSON represents as a number of milliseconds.
type Milliseconds int64

// Duration returns m as a time.Duration.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }
