package erasure

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A Record is the data of an entry of the kind [journal.Erased]: identities of a tenant that were erased.
type Record struct {
	Tenant uuid.UUID   `json:"tenant_id"`
	Salt   string      `json:"salt"`
	Until  time.Time   `json:"until"`  // rows of the identities that were created later are new records
	Hashes []uuid.UUID `json:"hashes"` // see Hash
}

// A Key is an identity in its normal form, see [RowKey] and [NumberKeys].
type Key string

const rowPrefix = "row:"

// RowKey returns the key of a row of a dataset. Rows of two datasets may have the same id.
func RowKey(dataset string, id uuid.UUID) Key { return Key(rowPrefix + dataset + ":" + id.String()) }

// IsRow reports whether the key is that of a row.
func (k Key) IsRow() bool { return strings.HasPrefix(string(k), rowPrefix) }

// separators are the characters of phone numbers that are not digits. See the filter of phone numbers in package
// schema.
const separators = " +-()./\t\u00a0\u2011\u2013"

// minDigits is the minimum number of digits in a text with other characters for which its digits count as a phone
// number.
const minDigits = 7

// internationalPrefix is dialed in place of the + of a number in most countries.
const internationalPrefix = "00"

// NumberKeys returns the keys of a phone number. A text of digits and separators has its digits as the key. Any other
// text is a key itself, and so are its digits if there are at least minDigits. With at least minDigits digits, there is
// one key with the international prefix and one without it. The macro number_keys computes the key that a stored number
// has.
func NumberKeys(number string) (keys []Key) {
	digits := Digits(number)
	pure := strings.Trim(number, "0123456789"+separators) == ""
	if digits != "" && (pure || len(digits) >= minDigits) {
		keys = append(keys, Key("number:"+digits))
	}
	if bare, prefixed := strings.CutPrefix(digits, internationalPrefix); len(bare) >= minDigits {
		if !prefixed {
			bare = internationalPrefix + digits
		}
		keys = append(keys, Key("number:"+bare))
	}
	if name := strings.TrimSpace(number); !pure {
		keys = append(keys, Key("name:"+name))
	}
	return keys
}

// Identifies reports whether a phone number belongs to one person. Texts such as anonymous do not.
func Identifies(number string) bool {
	return len(Digits(number)) >= minDigits || strings.ContainsAny(number, "@:")
}

// Digits returns the digits of a text.
func Digits(text string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, text)
}

// Hash returns the hash of a key with a salt: the first half of SHA-256, as a UUID.
func Hash(salt string, key Key) uuid.UUID {
	sum := sha256.Sum256([]byte(salt + string(key)))
	return uuid.UUID(sum[:16])
}

// newSalt returns 128 random bits.
func newSalt() string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	return hex.EncodeToString(salt)
}

// A Lists holds the erased identities of all tenants. It is safe for concurrent use.
type Lists struct {
	mu       sync.RWMutex
	byTenant map[uuid.UUID]*list
}

// A list holds the erased identities of a tenant. All entries of a folder have one salt for a tenant. Entries that come
// from the journal of another folder have other salts.
type list struct {
	salts  []string
	hashes map[uuid.UUID]erased
}

// erased is a hash of a list.
type erased struct {
	salt  string
	until time.Time // the latest of all records
}

// NewLists returns empty lists.
func NewLists() *Lists { return &Lists{byTenant: map[uuid.UUID]*list{}} }

// Add adds a record.
func (l *Lists) Add(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.byTenant[r.Tenant]
	if of == nil {
		of = &list{hashes: map[uuid.UUID]erased{}}
		l.byTenant[r.Tenant] = of
	}
	if !slices.Contains(of.salts, r.Salt) {
		of.salts = append(of.salts, r.Salt)
	}
	for _, hash := range r.Hashes {
		if r.Until.After(of.hashes[hash].until) {
			of.hashes[hash] = erased{r.Salt, r.Until}
		}
	}
}

// Record returns the record of the keys that the list of the tenant lacks, or has with an earlier time than until. The
// record has no hashes if the list has all keys.
func (l *Lists) Record(tenant uuid.UUID, until time.Time, keys []Key) Record {
	l.mu.RLock()
	defer l.mu.RUnlock()
	of := l.byTenant[tenant]
	r := Record{Tenant: tenant, Until: until, Hashes: []uuid.UUID{}}
	if of != nil {
		r.Salt = of.salts[0]
	} else {
		of, r.Salt = &list{}, newSalt()
	}
	added := map[uuid.UUID]bool{}
	for _, key := range keys {
		hash := Hash(r.Salt, key)
		if of.hashes[hash].until.Before(until) && !added[hash] {
			added[hash] = true
			r.Hashes = append(r.Hashes, hash)
		}
	}
	return r
}

// Tenants returns the tenants that have erased identities.
func (l *Lists) Tenants() (tenants []uuid.UUID) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for tenant := range l.byTenant {
		tenants = append(tenants, tenant)
	}
	return tenants
}

// Has reports whether the tenant has erased identities.
func (l *Lists) Has(tenant uuid.UUID) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byTenant[tenant] != nil
}

// Until returns the time until which rows of the key are erased.
func (l *Lists) Until(tenant uuid.UUID, key Key) (until time.Time, known bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	of := l.byTenant[tenant]
	if of == nil {
		return until, false
	}
	for _, salt := range of.salts {
		if found, ok := of.hashes[Hash(salt, key)]; ok && found.until.After(until) {
			until, known = found.until, true
		}
	}
	return until, known
}

// Matcher returns a matcher of the erased identities of a tenant.
func (l *Lists) Matcher(tenant uuid.UUID) Matcher {
	return Matcher{Has: func(key Key) bool {
		_, known := l.Until(tenant, key)
		return known
	}}
}
