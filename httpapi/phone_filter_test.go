package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A filter of phone numbers finds the same rows whatever the spelling on both sides, in lists, feeds, streams and
// analytics, from tables and from published files. Texts that are not numbers are compared as they are.
func TestPhoneFilter_ComparesDigitsOnBothSides(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	spellings := []string{"15550783881", "+15550783881", "+1 555-078-3881", "+1 (555) 078-3881", "1.555.078.3881",
		" 1-555-0783881", "+1\u00a0555\u2011078\u20133881", "\u202a+1 555 078 3881\u202c", "whatsapp:+15550783881",
		"tel:+1-555-078-3881"}
	names := []string{"anonymous", "sip:alice@example.com", "client:web-7", "client:web-8", "+1 555 ext. 7"}
	calls, messages := 0, 0
	var callRows, messageRows []string
	add := func(number string) {
		encoded, err := json.Marshal(number)
		noError(t, err)
		row := `{"user_id":%q,"id":%q,"created_at":"2026-06-01T00:00:00Z","direction":%q,%q:%s}`
		for _, direction := range []string{"inbound", "outbound"} {
			customer := map[string]string{"inbound": "from_number", "outbound": "to_number"}[direction]
			callRows = append(callRows,
				fmt.Sprintf(row, mine, uuid.NewString(), direction, customer, encoded),
				fmt.Sprintf(row, mine, uuid.NewString(), direction, "phone_number", encoded))
			calls += 2
			for _, side := range []string{"from_number", "to_number"} { // the customer's or the business's
				messageRows = append(messageRows, fmt.Sprintf(row, mine, uuid.NewString(), direction, side, encoded))
				messages++
			}
		}
	}
	for _, number := range spellings {
		add(number)
	}
	numbered, numberedMessages := calls, messages
	for _, name := range append(names, "", "+", "7") {
		add(name)
	}
	merge(t, b.warehouse, schema.Calls, callRows...)
	merge(t, b.warehouse, schema.Messages, messageRows...)
	found := func(path, number string) string {
		return b.ask(t, "GET", fmt.Sprintf("/api/v1/%s&from=2026-06-01&phone_number=%s", path, url.QueryEscape(number)),
			b.secret).body
	}
	check := func(state, number string, wantCalls, wantMessages int) {
		t.Helper()
		for dataset, want := range map[string]int{"calls": wantCalls, "messages": wantMessages} {
			if got := found(dataset+"?limit=1", number); !strings.Contains(got, fmt.Sprintf(`"total":%d,`, want)) {
				t.Errorf("%s, list of %s of %q: got %s, want total %d", state, dataset, number, got, want)
			}
			for _, export := range []string{"exports/" + dataset + "?format=ndjson"} {
				if got := strings.Count(b.stream(t, strings.TrimPrefix(export, "exports/")+"&from=2026-06-01&phone_number="+
					url.QueryEscape(number)).body, "\n"); got != want {
					t.Errorf("%s, stream of %s of %q: got %d rows, want %d", state, dataset, number, got, want)
				}
			}
			figures := b.report(t, dataset+"?from=2026-06-01&phone_number="+url.QueryEscape(number))
			if got := figures.Data[0][dataset]; got != float64(want) {
				t.Errorf("%s, analytics of %s of %q: got %v, want %d", state, dataset, number, got, want)
			}
			feed := b.ask(t, "GET", "/api/v1/"+dataset+"?since=0&limit=100&from=2026-06-01&phone_number="+
				url.QueryEscape(number), b.secret)
			if got := strings.Count(feed.body, `"created_at"`); got != want {
				t.Errorf("%s, feed of %s of %q: got %d rows, want %d", state, dataset, number, got, want)
			}
		}
	}
	for i, state := range []string{"unpublished", "published"} {
		for j := 2 * i; j < len(spellings); j += 4 { // the spelling of a filter is read in one place
			check(state, spellings[j], numbered, numberedMessages)
		}
		for _, name := range names[3*i:] {
			check(state, name, 4, 4)
		}
		for _, none := range []string{"+", "( )", "nobody"}[2*i:] {
			check(state, none, 0, 0)
		}
		_, err := b.warehouse.Publish(t.Context())
		noError(t, err)
	}
}
