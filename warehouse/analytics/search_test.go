package analytics_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// plainWords returns the words of a text. It does not use regular expressions.
func plainWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(norm.NFC.String(text)),
		func(c rune) bool { return !unicode.In(c, unicode.L, unicode.M, unicode.N) })
}

func has(words ...string) func(string) bool {
	return func(text string) bool {
		all := plainWords(text)
		for i := range all {
			if i+len(words) <= len(all) && slices.Equal(all[i:i+len(words)], words) {
				return true
			}
		}
		return false
	}
}

// The result equals that of a search in Go over the same turns, for any published part of them, in the requested order.
func TestSearchTranscripts_MatchesGo(t *testing.T) {
	w := openNew(t)
	r := rand.New(rand.NewPCG(8, 9))
	vocabulary := []string{"refund", "Refund", "REFUNDED", "नमस्ते", "नमस", "café", "cafe\u0301",
		"cafe", "STRASSE",
		"Strasse", "please", "zip", "ZIP", "z\u0301ip", "Ärger", "ärger", "σοφός", "ΣΟΦΌΣ", "a-b", "it's"}
	type call struct {
		id    uuid.UUID
		at    time.Time
		turns []string
	}
	var calls []call
	add := func(count int, month time.Month) {
		var rows []any
		for range count {
			c := call{at: time.Date(2026, month, 1+r.IntN(25), r.IntN(24), 0, 0, 0, time.UTC)}
			var said []row
			for range r.IntN(5) {
				words := make([]string, 1+r.IntN(6))
				for i := range words {
					words[i] = vocabulary[r.IntN(len(vocabulary))]
				}
				c.turns = append(c.turns, strings.Join(words, []string{" ", ", ", "\n", "…"}[r.IntN(4)]))
				said = append(said, row{"speaker": "AI", "text": c.turns[len(c.turns)-1]})
			}
			fields := call2row(len(calls), c.at, said)
			c.id = uuid.MustParse(fields["id"].(string))
			calls, rows = append(calls, c), append(rows, fields)
		}
		merge(t, w, schema.Calls, rows...)
	}
	add(300, time.March)
	_, err := w.Publish(t.Context())
	noError(t, err)
	add(100, time.April)
	for _, test := range []struct {
		q    string
		want func(string) bool
	}{
		{"refund", has("refund")},
		{"नमस्ते", has("नमस्ते")},
		{"नमस", has("नमस")}, // no word is cut at a vowel sign
		{"CAFÉ", has("café")},
		{"cafe\u0301", has("café")},
		{"cafe", has("cafe")}, // accents count
		{"straße", has("strasse")},
		{"ärger", has("ärger")},
		{"σοφός", func(text string) bool { return has("σοφός")(text) || has("σοφόσ")(text) }},
		{`"please refund"`, has("please", "refund")},
		{"Zip", has("zip")}, // and not the one with an accent
		{"źip", has("źip")},
		{"a-b", has("a", "b")},
		{"it's", has("it", "s")},
		{"refund*", func(text string) bool { return has("refund")(text) || has("refunded")(text) }},
		{"refund please", func(text string) bool { return has("refund")(text) && has("please")(text) }},
		{"refund AND please NOT cafe", func(text string) bool {
			return has("refund")(text) && has("please")(text) &&
				!has("cafe")(text)
		}},
		{"refund OR (please AND NOT (café OR cafe))", func(text string) bool {
			return has("refund")(text) || has("please")(text) && !has("café")(text) && !has("cafe")(text)
		}},
		{"nothing", has("nothing")},
	} {
		phrases, err := analytics.ParseSearchQuery(test.q)
		noError(t, err)
		matches, turns := map[uuid.UUID]int64{}, int64(0)
		var want []call
		for _, c := range calls {
			for _, text := range c.turns {
				if test.want(text) {
					matches[c.id]++
					turns++
				}
			}
			if matches[c.id] > 0 {
				want = append(want, c)
			}
		}
		for _, newest := range []bool{true, false} {
			slices.SortFunc(want, func(a, b call) int {
				byMatches := cmp.Compare(matches[b.id], matches[a.id])
				if newest {
					byMatches = 0
				}
				return cmp.Or(byMatches, b.at.Compare(a.at), strings.Compare(a.id.String(), b.id.String()))
			})
			found, err := analytics.SearchTranscripts(t.Context(), w, tenantA,
				analytics.Search{Query: phrases, Newest: newest, Limit: 7, Offset: 3})
			noError(t, err)
			if found.Total != int64(len(want)) || found.Turns != turns {
				t.Errorf("%s: got %d calls and %d turns, want %d and %d", test.q, found.Total, found.Turns, len(want), turns)
				continue
			}
			shown := want[min(3, len(want)):min(10, len(want))]
			if len(found.Calls) != len(shown) {
				t.Errorf("%s: got %d calls on the page, want %d", test.q, len(found.Calls), len(shown))
				continue
			}
			for i, c := range found.Calls {
				if c.ID != shown[i].id || !c.CreatedAt.Equal(shown[i].at) || c.Matches != matches[c.ID] ||
					int64(len(c.Turns)) != c.Matches || c.Status.String != "completed" {
					t.Errorf("%s: got %+v, want %+v", test.q, c, shown[i])
				}
				for _, turn := range c.Turns {
					if turn.Text != shown[i].turns[turn.Turn-1] || len(turn.Places) == 0 {
						t.Errorf("%s: got turn %+v, want one of %q", test.q, turn, shown[i].turns)
					}
				}
			}
		}
	}
	phrases, err := analytics.ParseSearchQuery("refund")
	noError(t, err)
	found, err := analytics.SearchTranscripts(t.Context(), w, tenantA,
		analytics.Search{Query: phrases, Limit: 100,
			Filter: schema.Filter{From: time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), Status: "completed"}})
	noError(t, err)
	for _, c := range found.Calls {
		if c.CreatedAt.Before(time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%+v", c)
		}
	}
	if len(found.Calls) == 0 {
		t.Error("got no calls with a filter")
	}
	if found, err := analytics.SearchTranscripts(t.Context(), w, tenantB,
		analytics.Search{Query: phrases, Limit: 100}); len(found.Calls) > 0 {
		t.Error(found, err)
	}
}

// The table of a search result has its turns in order, whatever their text contains.
func TestSearchTable_TurnsInOrder(t *testing.T) {
	w := openNew(t)
	merge(t, w, schema.Calls, call(tenantA, 1, row{}))
	snapshot, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	defer func() { noError(t, snapshot.Close()) }()
	for found, want := range map[string]string{
		`[]`: "",
		`[{"call_id": "00000000-0000-4000-8000-00000000000b", "created_at": "2026-03-29T01:30:00.250Z",
		   "assistant_id": null, "direction": "inbound", "status": "it's", "matches": 12, "turns": [
			{"turn": 2, "speaker": null, "offset_ms": 1500, "snippet": "it's \"😀\" \u0000\n",
			 "snippet_start": 7, "places": [[0, 2], [4, 5]]},
			{"turn": 1, "speaker": "AI", "offset_ms": null, "snippet": "",
			 "snippet_start": 0, "places": []}]},
		  {"call_id": "00000000-0000-4000-8000-00000000000a", "created_at": "1970-01-01T00:00:00Z",
		   "assistant_id": "00000000-0000-4000-8000-00000000000c", "direction": null, "status": null,
		   "matches": 1, "turns": [
			{"turn": 3, "speaker": "User", "offset_ms": 0, "snippet": "x",
			 "snippet_start": 0, "places": [[0, 1]]}]}]`: "" +
			"0b 1774747800250 NULL inbound it's 12 2 NULL 1500 it's \"😀\" \x00\n 7 [[0, 2], [4, 5]]|" +
			"0b 1774747800250 NULL inbound it's 12 1 AI NULL  0 []|0a 0 0c NULL NULL 1 3 User 0 x 0 [[0, 1]]|",
	} {
		var have string
		noError(t, snapshot.Conn.QueryRowContext(t.Context(),
			`SELECT coalesce(string_agg(concat_ws(' ', right(call_id::VARCHAR, 2), epoch_ms(created_at),
				coalesce(right(assistant_id::VARCHAR, 2), 'NULL'), coalesce(direction, 'NULL'), coalesce(status, 'NULL'),
				matches, turn, coalesce(speaker, 'NULL'), coalesce(offset_ms::VARCHAR, 'NULL'), snippet, snippet_start,
				places) || '|', ''), '') FROM (`+analytics.SearchTable([]byte(found))+`)`).Scan(&have))
		if have != want {
			t.Errorf("got %q\nwant %q", have, want)
		}
	}
}

func call2row(n int, at time.Time, said []row) row {
	fields := row{"created_at": at, "status": "completed"}
	if len(said) > 0 {
		fields["transcript"] = said
	}
	return call(tenantA, n, fields)
}

// Matches are ranges of code points, and adjacent words match separately.
func TestSearchQuery_Find(t *testing.T) {
	for _, test := range []struct{ q, text, want string }{
		{"foo", "😀 foo foo,FOO food", "[[2 5] [6 9] [10 13]]"},
		{`"a b" OR c`, "c a - b c", "[[0 1] [2 7] [8 9]]"},
		{"टेबल NOT x", "लिए टेबल चाहिए।", "[[4 8]]"},
		{"straße", "Die STRASSE, Straße", "[[4 11] [13 19]]"},
		{"istanbul", "İSTANBUL", "[[0 8]]"},
		{"x OR y", "z", "[]"},
	} {
		phrases, err := analytics.ParseSearchQuery(test.q)
		noError(t, err)
		if got := fmt.Sprint(phrases.Find(test.text)); got != test.want {
			t.Errorf("%s in %q: %s", test.q, test.text, got)
		}
	}
}

// A word of a script without blanks matches anywhere, a word of another script borders on such letters, and code points
// that are not seen do not matter: in Go, where the places come from, and in DuckDB, which selects the turns.
func TestSearchQuery_ScriptsAndIgnoredCodePoints(t *testing.T) {
	w := openNew(t)
	for _, test := range []struct {
		q, text string
		found   string // the matches, separated by |
	}{
		{"退款", "我想申请退款,谢谢", "退款"},
		{"退款", "VIP退款3元", "退款"},
		{"返金", "すぐに返金してください", "返金"},
		{"してください", "すぐに返金してください", "してください"},
		{"キャンセル", "予約をキャンセルしたい", "キャンセル"},
		{"คืนเงิน", "ฉันต้องการคืนเงินวันนี้",
			"คืนเงิน"},
		{"ກ", "ຂໍກິນ", ""}, // the vowel sign belongs to the letter
		{"ເງິນ", "ຂໍຄືນເງິນແດ່", "ເງິນ"},
		{"ប្រាក់", "សូមសងប្រាក់វិញ", "ប្រាក់"},
		{"iphone", "我的iPhone手机坏了", "iPhone"},
		{"phone", "我的iPhone手机坏了", ""},
		{"5", "一共5元和15元", "5"},
		{`"你好 世界"`, "说你好世界!", "你好世界"},
		{`"你好世界"`, "你好,世界", ""},
		{"退*", "我要退款", "退"},
		{"refund", "re\u00adfund", "re\u00adfund"},
		{"fund", "re\u00adfund", ""},
		{"re\u00adfund", "refund", "refund"},
		{"refund", "\ufeffrefund\u2060", "refund"},
		{"refund", "\u200frefund\u200e", "refund"},
		{"refund*", "re\u200bfunded", "re\u200bfunded"},
		{"كتاب", "هذا كـــتـاب جديد", "كـــتـاب"},
		{"كـتاب", "هذا كتاب", "كتاب"},
		{"می\u200cخواهم", "من میخواهم", "میخواهم"},
		{"میخواهم", "من می\u200cخواهم", "می\u200cخواهم"},
		{"क्\u200dष", "क्ष है", "क्ष"},
		{"❤\ufe0fok", "❤ok", "ok"},
		{"ß", "s\u00ads", "s\u00ads"},
	} {
		query, err := analytics.ParseSearchQuery(test.q)
		noError(t, err)
		var found []string
		for _, place := range query.Find(test.text) {
			found = append(found, string([]rune(test.text)[place[0]:place[1]]))
		}
		if got := strings.Join(found, "|"); got != test.found {
			t.Errorf("%q in %q: got %q, want %q", test.q, test.text, got, test.found)
		}
		tenant := uuid.New()
		merge(t, w, schema.Calls, row{"id": uuid.New(), "user_id": tenant, "created_at": "2026-03-01T00:00:00Z",
			"transcript": []row{{"speaker": "AI", "text": test.text}}})
		result, err := analytics.SearchTranscripts(t.Context(), w, tenant, analytics.Search{Query: query, Limit: 1})
		noError(t, err)
		if (result.Turns == 1) != (test.found != "") {
			t.Errorf("%q in %q: DuckDB finds %d turns, Go %q", test.q, test.text, result.Turns, test.found)
		}
	}
	for _, nothing := range []string{"\u00ad", "\u200d\u200c", "ـ"} {
		if _, err := analytics.ParseSearchQuery(nothing); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", nothing, err)
		}
	}
}

func TestSearchQuery_SyntaxErrors(t *testing.T) {
	for _, text := range []string{"", " ", "NOT a", "a OR NOT", "(a", "a)", "()", "a AND", "OR a", `"a`, `""`, "!!!",
		"*", "\xff", "a\x00", strings.Repeat("(", 30) + "a", strings.Repeat("NOT ", 30) + "a",
		strings.Repeat("a ", 40), strings.Repeat("a", 501)} {
		if _, err := analytics.ParseSearchQuery(text); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSearchQuery(f *testing.F) {
	for _, seed := range []string{"a b", `"x y" OR (z* AND NOT ß)`, "((", "'; DROP TABLE calls; --", `[\d](?i)\x{41}`,
		"İ\u0307 \u0301"} {
		f.Add(seed, "some text with x y")
	}
	f.Fuzz(func(t *testing.T, q, text string) {
		phrases, err := analytics.ParseSearchQuery(q)
		if err != nil {
			return
		}
		for _, place := range phrases.Find(text) {
			if letters := []rune(text); place[0] < 0 || place[0] >= place[1] || place[1] > len(letters) {
				t.Errorf("%q in %q: %v", q, text, place)
			}
		}
	})
}
