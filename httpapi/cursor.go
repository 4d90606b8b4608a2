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

	"github.com/voicory/warehouse/warehouse"
)

// A cursor is a place in a list or in a feed, signed for one tenant, one dataset and one filter: with any other it is not
// valid. It holds 1 byte of kind, 8 of a number (a time in microseconds, or a commit), 16 of an id, and the signature.
const (
	listCursor byte = 1
	feedCursor byte = 2

	placeBytes     = 1 + 8 + 16
	signatureBytes = 16
)

// scope is what a cursor is bound to.
type scope struct {
	Tenant  uuid.UUID
	Dataset string
	Filter  warehouse.Filter
}

func (a *api) signature(place []byte, s scope) []byte {
	bound, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts, ids and times are always JSON
	}
	mac := hmac.New(sha256.New, a.CursorKey)
	mac.Write(place)
	mac.Write(bound)
	return mac.Sum(nil)[:signatureBytes]
}

func (a *api) cursor(kind byte, number int64, id uuid.UUID, s scope) string {
	place := append([]byte{kind}, binary.BigEndian.AppendUint64(nil, uint64(number))...)
	place = append(place, id[:]...)
	return base64.RawURLEncoding.EncodeToString(append(place, a.signature(place, s)...))
}

func (a *api) cursorAfter(p warehouse.Position, s scope) string {
	return a.cursor(listCursor, p.CreatedAt.UnixMicro(), p.ID, s)
}

func (a *api) cursorInFeed(p warehouse.FeedPosition, s scope) string {
	return a.cursor(feedCursor, p.Seq, p.ID, s)
}

// place is where a cursor points: into a list or into a feed.
type place struct {
	list *warehouse.Position
	feed *warehouse.FeedPosition
}

func (a *api) parseCursor(text string, s scope) (place, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != placeBytes+signatureBytes || !hmac.Equal(raw[placeBytes:], a.signature(raw[:placeBytes], s)) {
		return place{}, &problem{status: http.StatusBadRequest, code: "INVALID_CURSOR",
			message: "The cursor is not one of this list with these filters; begin again without it"}
	}
	number, id := int64(binary.BigEndian.Uint64(raw[1:])), uuid.UUID(raw[9:placeBytes])
	if raw[0] == feedCursor {
		return place{feed: &warehouse.FeedPosition{Seq: number, ID: id}}, nil
	}
	return place{list: &warehouse.Position{CreatedAt: time.UnixMicro(number).UTC(), ID: id}}, nil
}
