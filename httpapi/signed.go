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

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/warehouse"
)

// grant is what a signed URL allows: to read one file, until a moment, in the name of the key that the URL was given to. It ends with
// that key. The URL itself is all that is needed, for clients that cannot send a header; so whoever has it can read the file. Pages of
// other web origins cannot: a secret key has no origins, nor have the URLs that were given to it.
type grant struct {
	tenant       uuid.UUID
	export, name string
	key          uuid.UUID
	expires      int64 // Unix seconds
}

func (g grant) mac(secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s\n%q\n%q\n%s\n%d", g.tenant, g.export, g.name, g.key, g.expires)
	return mac.Sum(nil)
}

// signed are the parameters that the grant's URL has.
func (a *api) signed(g grant) url.Values {
	return url.Values{"expires": {strconv.FormatInt(g.expires, 10)}, "key_id": {g.key.String()},
		"signature": {base64.RawURLEncoding.EncodeToString(g.mac(a.FileKey))}}
}

var invalidSignature = &problem{status: http.StatusForbidden, code: "INVALID_SIGNATURE", message: "The URL is not as it was signed"}

// authenticateFile finds the key of a request for a file: that of its header, else the one that its URL was signed for.
func (a *api) authenticateFile(r *http.Request) (key warehouse.Key, valid context.Context, err error) {
	if r.Header.Get("X-Api-Key") != "" || !r.URL.Query().Has("signature") {
		return a.authenticate(r)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return key, nil, invalidSignature
	}
	id, err := parseUUID(values.Get("key_id"))
	if err != nil {
		return key, nil, invalidSignature
	}
	found, valid, ended := a.Store.KeyByID(id) // an unknown one has no tenant, and nothing was signed for that
	expires, err := strconv.ParseInt(values.Get("expires"), 10, 64)
	if err != nil {
		return key, nil, invalidSignature
	}
	good := grant{found.Tenant, mux.Vars(r)["dataset"], mux.Vars(r)["name"], id, expires}
	// The text that came is compared, not what it decodes to: there is one way to write a signed URL.
	if want := a.signed(good).Encode(); !hmac.Equal([]byte(values.Encode()), []byte(want)) || found.ID == uuid.Nil {
		return key, nil, invalidSignature
	}
	if ended == nil && a.Now().Unix() >= expires {
		ended = &problem{status: http.StatusForbidden, code: "EXPIRED_URL", message: "The URL was good until a time that has passed; ask for a new one"}
	}
	return found, valid, ended
}
