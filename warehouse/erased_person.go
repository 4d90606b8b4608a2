package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A person is a customer that is to be erased.
type person struct {
	keys    []erasure.Key
	texts   []string // texts that name the person, in no particular case
	markers []Marker
}

// add adds a customer's row.
func (p *person) add(id, name, email, number string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	p.keys = append(p.keys, erasure.RowKey(schema.Customers.Name, parsed))
	p.markers = append(p.markers, Marker{"id", id})
	p.addNumber(number, erasure.Identifies(number))
	for kind, text := range map[string]string{"e-mail address": email, "name": name} {
		if strings.TrimSpace(text) == "" {
			continue
		}
		p.markers = append(p.markers, Marker{kind, text})
		if strings.ContainsAny(strings.TrimSpace(text), " @") { // a first name alone names other persons, too
			p.texts = append(p.texts, text)
		}
	}
	return nil
}

// addNumber adds a phone number if it belongs to one person.
func (p *person) addNumber(number string, identifies bool) {
	if !identifies {
		return
	}
	p.keys = append(p.keys, erasure.NumberKeys(number)...)
	marker := number
	if digits := erasure.Digits(number); digits != "" {
		marker = digits // also finds the number with a plus sign
	}
	p.markers = append(p.markers, Marker{"number", marker})
}

// findPerson returns the identities of a customer: of all customers with the number, or with the number of the customer
// that has the id.
func (w *Warehouse) findPerson(ctx context.Context, tenant uuid.UUID, customer string) (who person, err error) {
	id, isID := uuid.NullUUID{}, false
	if parsed, err := uuid.Parse(strings.TrimSpace(customer)); err == nil && len(strings.TrimSpace(customer)) == 36 {
		id, isID = uuid.NullUUID{UUID: parsed, Valid: true}, true
	} else if who.addNumber(customer, true); len(who.keys) == 0 {
		return who, fmt.Errorf("%w: customer %q is neither an id nor a phone number", ErrInvalid, customer)
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return who, err
	}
	defer release()
	found := 0
	for range 2 { // the numbers of the customer first, and then the customers with these numbers
		numbers := who.keys
		if found, err = who.addCustomers(ctx, store.db, id, numbers); err != nil {
			return who, err
		}
		if isID && found == 0 {
			return who, fmt.Errorf("%w: the tenant has no customer %s", ErrNotFound, id.UUID)
		}
	}
	who.markers = distinct(who.markers)
	if isID {
		err = who.refuseOwnNumber(ctx, store.db)
	}
	return who, err
}

// minOwn is the minimum number of calls and messages that a number must have on the account's side to count as one of
// the account's own numbers.
const minOwn = 10

// refuseOwnNumber returns ErrInvalid if the number of the customer is on the account's side of most of its rows. It is
// then a number of the business, and the erasure would delete all calls of the business. A user who names such a number
// instead of the customer's id wants that, so it is not called then.
func (p *person) refuseOwnNumber(ctx context.Context, db *sql.DB) error {
	keys, err := json.Marshal(p.keys)
	if err != nil {
		return err
	}
	var own, other int64
	err = db.QueryRowContext(ctx, statements.Fill("erasure/count_sides", "store", "main"),
		sql.Named("keys", string(keys))).Scan(&own, &other)
	if err == nil && own >= minOwn && own > other {
		err = fmt.Errorf("%w: the number of the customer is one of the account's own numbers in %d calls and messages; "+
			"name the number with --customer to erase them all", ErrInvalid, own)
	}
	return err
}

// addCustomers adds the customers with the id or one of the keys, and returns their number.
func (p *person) addCustomers(
	ctx context.Context, db *sql.DB, id uuid.NullUUID, keys []erasure.Key,
) (n int, err error) {
	text, err := json.Marshal(keys)
	if err != nil {
		return 0, err
	}
	var only any
	if id.Valid {
		only = id.UUID.String()
	}
	rows, err := db.QueryContext(ctx, statements.Fill("erasure/select_customers", "store", "main"),
		sql.Named("id", only), sql.Named("keys", string(text)))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var id, name, email, number string
		if err := rows.Scan(&id, &name, &email, &number); err != nil {
			return n, err
		}
		if err := p.add(id, name, email, number); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

func distinct[T comparable](values []T) (out []T) {
	seen := map[T]bool{}
	for _, value := range values {
		if !seen[value] {
			seen[value] = true
			out = append(out, value)
		}
	}
	return out
}
