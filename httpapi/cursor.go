package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A cursor is a position in a list or in a feed. It is signed for one tenant, dataset and filter, and for the history
// of the tenant's store, which a restore ends; it is invalid with any other. Before base64 it holds: kind (1 byte),
// number (8 bytes: the creation time in microseconds, or the commit), id (16 bytes), only in a feed epoch (16 bytes)
// and loaded (8 bytes), and the signature (16 bytes).
const (
	listCursor     byte = 1
	shortCursor    byte = 2 // of a feed, without epoch and loaded, as earlier versions issued it
	feedCursor     byte = 3
	signatureBytes      = 16
)

// placeBytes are the lengths of cursors by kind, without the signature.
var placeBytes = map[byte]int{listCursor: 1 + 8 + 16, shortCursor: 1 + 8 + 16, feedCursor: 1 + 8 + 16 + 16 + 8}

// scope holds the values that a cursor is valid for.
type scope struct {
	Tenant  uuid.UUID
	Dataset string
	Filter  schema.Filter
	// History is the history of the tenant's store when the request began. It is empty if the store had none yet, and in
	// the cursors of earlier versions.
	History string `json:",omitempty"`
}

// signature returns the HMAC of a position and its scope, cut to signatureBytes.
func (a *api) signature(place []byte, s scope) []byte {
	bound, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, ids and times always encode
	}
	mac := hmac.New(sha256.New, a.CursorKey)
	mac.Write(place)
	mac.Write(bound)
	return mac.Sum(nil)[:signatureBytes]
}

// cursor returns a signed cursor in base64.
func (a *api) cursor(kind byte, number int64, id uuid.UUID, s scope, more ...byte) string {
	place := append([]byte{kind}, binary.BigEndian.AppendUint64(nil, uint64(number))...)
	place = append(append(place, id[:]...), more...)
	return base64.RawURLEncoding.EncodeToString(append(place, a.signature(place, s)...))
}

// cursorAfter returns the cursor for the rows of a list after p.
func (a *api) cursorAfter(p warehouse.Position, s scope) string {
	return a.cursor(listCursor, p.CreatedAt.UnixMicro(), p.ID, s)
}

// cursorInFeed returns the cursor for the rows of a feed after p.
func (a *api) cursorInFeed(p warehouse.FeedPosition, s scope) string {
	return a.cursor(feedCursor, p.Seq, p.ID, s, binary.BigEndian.AppendUint64(p.Epoch[:], uint64(p.Loaded))...)
}

// place is the position of a cursor in a list or in a feed: one of its fields is set.
type place struct {
	list *warehouse.Position
	feed *warehouse.FeedPosition
}

// validSignature reports whether the place was signed for the scope. In the first history of the tenant's store, it
// also accepts a signature of an earlier version, which has no history in its scope.
func (a *api) validSignature(place, signature []byte, s scope) bool {
	if hmac.Equal(signature, a.signature(place, s)) {
		return true
	}
	if _, first := a.Store.History(s.Tenant); !first {
		return false
	}
	s.History = ""
	return hmac.Equal(signature, a.signature(place, s))
}

// parseCursor returns the position of a cursor, or an INVALID_CURSOR problem if it was not signed for the scope.
func (a *api) parseCursor(text string, s scope) (place, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	size := max(0, len(raw)-signatureBytes)
	if err != nil || size == 0 || size != placeBytes[raw[0]] || !a.validSignature(raw[:size], raw[size:], s) {
		return place{}, &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_CURSOR",
			Message: "The cursor is not one of this list with these filters; begin again without it"}
	}
	number, id := int64(binary.BigEndian.Uint64(raw[1:])), uuid.UUID(raw[9:25])
	switch raw[0] {
	case shortCursor:
		return place{feed: &warehouse.FeedPosition{Seq: number, ID: id, Epoch: warehouse.AnyEpoch, Loaded: number}}, nil
	case feedCursor:
		return place{feed: &warehouse.FeedPosition{Seq: number, ID: id, Epoch: uuid.UUID(raw[25:41]),
			Loaded: int64(binary.BigEndian.Uint64(raw[41:]))}}, nil
	}
	return place{list: &warehouse.Position{CreatedAt: time.UnixMicro(number).UTC(), ID: id}}, nil
}
