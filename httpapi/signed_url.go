package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

// grant is the permission in a signed URL: to read one file until a time, on behalf of the key that requested the URL.
// It ends early if that key is revoked or expires. The URL needs no header, so any client that has it can read the
// file. A web page can read it if its origin is one of the origins of the key.
type grant struct {
	tenant       uuid.UUID
	export, name string
	key          uuid.UUID
	expires      int64 // Unix seconds
}

// mac returns the HMAC of the grant.
func (g grant) mac(secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s\n%q\n%q\n%s\n%d", g.tenant, g.export, g.name, g.key, g.expires)
	return mac.Sum(nil)
}

// signed returns the query parameters of the signed URL for the grant.
func (a *api) signed(g grant) url.Values {
	return url.Values{"expires": {strconv.FormatInt(g.expires, 10)}, "key_id": {g.key.String()},
		"signature": {base64.RawURLEncoding.EncodeToString(g.mac(a.FileKey))}}
}

var invalidSignature = &web.Problem{Status: http.StatusForbidden, Code: "INVALID_SIGNATURE",
	Message: "The signature of the URL is not valid"}

// authenticateFile returns the key of a request for a file: the key in the header, or else the key that the URL
// was signed for. It returns INVALID_SIGNATURE or EXPIRED_URL if the signed URL is not valid.
func (a *api) authenticateFile(r *http.Request) (key control.Key, valid context.Context, err error) {
	if r.Header.Get("X-Api-Key") != "" || !r.URL.Query().Has("signature") {
		return a.authenticate(r)
	}
	stateOf(r).signed = true
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return key, nil, invalidSignature
	}
	id, err := parseUUID(values.Get("key_id"))
	if err != nil {
		return key, nil, invalidSignature
	}
	found, valid, ended := a.Store.KeyByID(id) // an unknown key is rejected below, with the signature
	expires, err := strconv.ParseInt(values.Get("expires"), 10, 64)
	if err != nil {
		return key, nil, invalidSignature
	}
	good := grant{found.Tenant, mux.Vars(r)["dataset"], mux.Vars(r)["name"], id, expires}
	// Compare the encoded text, not decoded values: a signed URL has exactly one valid form.
	if want := a.signed(good).Encode(); !hmac.Equal([]byte(values.Encode()), []byte(want)) || found.ID == uuid.Nil {
		return key, nil, invalidSignature
	}
	if ended == nil && a.Now().Unix() >= expires {
		ended = &web.Problem{Status: http.StatusForbidden, Code: "EXPIRED_URL",
			Message: "The signed URL has expired; request a new one"}
	}
	return found, valid, ended
}

// Lifetimes of signed URLs.
const (
	minSigned     = time.Minute
	defaultSigned = time.Hour
	maxSigned     = 7 * 24 * time.Hour
)

// signedFor returns the requested lifetime of signed URLs: expires_in in seconds, or one hour for signed=true. It
// returns 0 if the URLs are not to be signed.
func signedFor(raw string) (time.Duration, error) {
	values, err := parseParams(raw, []string{"signed", "expires_in"}, true)
	if err != nil {
		return 0, err
	}
	if text := values.Get("expires_in"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < int64(minSigned/time.Second) || n > int64(maxSigned/time.Second) {
			return 0, &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
				Message: "expires_in is not a number of seconds from 60 to 604800"}
		}
		return time.Duration(n) * time.Second, nil
	}
	if text := values.Get("signed"); text != "" {
		signed, err := strconv.ParseBool(text)
		if err != nil {
			return 0, &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
				Message: "signed is neither true nor false"}
		}
		if signed {
			return defaultSigned, nil
		}
	}
	return 0, nil
}
