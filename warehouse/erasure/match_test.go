package erasure_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/erasure"
)

var (
	tenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	person = uuid.MustParse("cccccccc-0000-4000-8000-000000000003")
)

const number = "919123456789"

// erased returns the list of a tenant with one customer.
func erased(t testing.TB, until time.Time) *erasure.Lists {
	t.Helper()
	lists := erasure.NewLists()
	keys := append(erasure.NumberKeys("+"+number), erasure.RowKey("customers", person))
	record := lists.Record(tenant, until, keys)
	if len(record.Hashes) != 3 {
		t.Fatalf("got %d hashes, want those of the number, with and without 00, and of the id", len(record.Hashes))
	}
	lists.Add(record)
	return lists
}

// spelled draws a spelling of a phone number.
func spelled(r *rapid.T, digits string) string {
	separator := rapid.SampledFrom([]string{"", "", "", " ", "-", ".", "/", ") ", " (", "\u00a0", "\u2011", "\u2009"})
	var out strings.Builder
	out.WriteString(rapid.SampledFrom([]string{"", "+", "(+", "+ ", "00", "00 "}).Draw(r, "prefix"))
	for i, digit := range digits {
		if i > 0 {
			out.WriteString(separator.Draw(r, "separator"))
		}
		out.WriteRune(digit)
	}
	return out.String()
}

// A number is found in every spelling, and its place is the number only.
func TestMatcher_FindsTheNumberInAnyText(t *testing.T) {
	matcher := erased(t, time.Now()).Matcher(tenant)
	around := rapid.StringOf(rapid.RuneFrom([]rune(`abc :,"{}[]%=&\é`)))
	rapid.Check(t, func(r *rapid.T) {
		before, after := around.Draw(r, "before"), around.Draw(r, "after")
		text := before + spelled(r, number) + after
		got, changed := matcher.Redact(text, "#")
		if !changed || strings.ContainsAny(got, "0123456789") || !strings.Contains(got, "#") ||
			!strings.HasPrefix(got, strings.TrimRight(before, "( +")) || !strings.HasSuffix(got, after) {
			r.Fatalf("%q became %q", text, got)
		}
	})
}

func TestMatcher_Texts(t *testing.T) {
	matcher := erased(t, time.Now()).Matcher(tenant)
	matcher.Texts = []string{"Ann Example"}
	for text, want := range map[string]string{
		"":                                      "",
		"no digit":                              "no digit",
		"1" + number + " and " + number + "1":   "1" + number + " and " + number + "1", // other numbers
		"two: " + number + " 442079460001":      "two: # 442079460001",
		"442079460001 " + number:                "442079460001 #",
		strings.ToUpper(person.String()) + "x":  "#x",
		"/api/v1/customers/" + person.String():  "/api/v1/customers/#",
		"for ann example, ANN EXAMPLE and Anna": "for #, # and Anna",
		tenant.String():                         tenant.String(),
		`{"from_number":"\u002b` + number +
			`","to_number":"+442079460001"}`: `{"from_number":"\u002b#","to_number":"+442079460001"}`,
		"1999 " + number[:6] + " " + number[6:] + ".": "1999 #.",
		number[:11] + "x": number[:11] + "x",
	} {
		if got, changed := matcher.Redact(text, "#"); got != want || changed != (text != want) {
			t.Errorf("%q became %q (%v), want %q", text, got, changed, want)
		}
	}
}

func TestNumberKeys_OfEachForm(t *testing.T) {
	for text, want := range map[string]string{
		"+91 91234-56789": "number:" + number + " number:00" + number, "0091": "number:0091", "": "", " + ": "",
		"0091 91234 56789":       "number:00" + number + " number:" + number,
		"whatsapp:+919123456789": "number:" + number + " number:00" + number + " name:whatsapp:+919123456789",
		" sip:ann42@example.com": "name:sip:ann42@example.com", "anonymous": "name:anonymous",
	} {
		var got []string
		for _, key := range erasure.NumberKeys(text) {
			got = append(got, string(key))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		"+91 91234-56789": true, "12345": false, "anonymous": false, "Restricted": false, "": false,
		"sip:ann@example.com": true,
	} {
		if got := erasure.Identifies(text); got != want {
			t.Errorf("Identifies(%q) = %v, want %v", text, got, want)
		}
	}
}

// Lists of two folders, which have other salts, count both. The latest erasure of an identity counts.
func TestLists_OfTwoFolders(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	key := erasure.RowKey("customers", person)
	first, second := erasure.NewLists(), erasure.NewLists()
	one, two := first.Record(tenant, late, []erasure.Key{key}),
		second.Record(tenant, early, []erasure.Key{key, "number:1"})
	if one.Salt == two.Salt || one.Hashes[0] == two.Hashes[0] {
		t.Fatalf("the salts of two folders are equal: %+v %+v", one, two)
	}
	first.Add(one)
	first.Add(two)
	if until, known := first.Until(tenant, key); !known || !until.Equal(late) {
		t.Errorf("got %v %v, want %v", until, known, late)
	}
	if _, known := first.Until(tenant, "number:1"); !known {
		t.Error("the identity of the second folder is unknown")
	}
	if _, known := first.Until(person, key); known {
		t.Error("an identity of one tenant counts for another one")
	}
	if again := first.Record(tenant, early, []erasure.Key{key}); len(again.Hashes) != 0 || again.Salt != one.Salt {
		t.Errorf("got record %+v of an identity that is known", again)
	}
	if later := first.Record(tenant, late.Add(1), []erasure.Key{key, key}); len(later.Hashes) != 1 {
		t.Errorf("got record %+v of a later erasure", later)
	}
}
