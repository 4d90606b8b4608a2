package control_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/control"
)

// escaped percent-encodes some bytes of a text; every: all.
func escaped(text string, r *rand.Rand, every bool) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		switch {
		case !every && r.IntN(2) == 0:
			out.WriteByte(b)
		case r.IntN(2) == 0:
			fmt.Fprintf(&out, "%%%02x", b)
		default:
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// Every key is masked, between whatever text and however it is percent-encoded.
func TestMaskKeys_LeavesNoKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ABCxyz019"
	befores := []string{"", " ", "/", "=", "pk", "_", "é", "%zz", "sk_", "X"}
	afters := []string{"", " ", "/", "%", "%2", "=", "_", "é", "…", "%zz", "%2F", "%25"}
	for range 20_000 {
		key := []string{"pk_", "sk_"}[r.IntN(2)]
		for range 7 + r.IntN(30) {
			key += string(alphabet[r.IntN(len(alphabet))])
		}
		text := key
		for range r.IntN(4) {
			text = escaped(text, r, r.IntN(4) == 0)
		}
		before, after := befores[r.IntN(len(befores))], afters[r.IntN(len(afters))]
		if got, want := control.MaskKeys(before+text+after), before+key[:3]+"…"+after; got != want {
			t.Fatalf("MaskKeys(%q) = %q, want %q", before+text+after, got, want)
		}
	}
}

func TestMaskKeys_LeavesOtherText(t *testing.T) {
	for _, text := range []string{
		"", "pk_123456", "sk_", "task_1234567"[1:5], "a%2Fb%20c", "%", "%2", "%%%", "100%25", "q=%70k",
	} {
		if got := control.MaskKeys(text); got != text {
			t.Errorf("MaskKeys(%q) = %q, want it unchanged", text, got)
		}
	}
	for text, want := range map[string]string{
		"a pk_1234567 b": "a pk_… b", "%70k_1234567/x": "pk_…/x", "sk%5f1234567&sk_12345678": "sk_…&sk_…",
		"sk%255f1234567": "sk_…",
		"pk_1234567%":    "pk_…%", "pk_1234567%2": "pk_…%2",
	} {
		if got := control.MaskKeys(text); got != want {
			t.Errorf("MaskKeys(%q) = %q, want %q", text, got, want)
		}
	}
}
