package values

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestPlainNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"919812345678.0": "919812345678", "+919812345678.00": "+919812345678", "9.19812345678e+11": "919812345678",
		"9.19812E+11": "919812000000", "1e22": "10000000000000000000000", "-1.5E-3": "-0.0015", "12.50": "12.5",
		"12.5": "12.5", "12.": "12", "12": "12", "0012.0": "0012", "1.2.0": "1.2.0", "a.0": "a.0", ".0": ".0", "e5": "e5",
		"+91 98123": "+91 98123", "1e9999": "1e9999", "": "", "0e0": "0", "-.5e1": "-5",
	} {
		if got := PlainNumber(text); got != want {
			t.Errorf("PlainNumber(%q): got %q, want %q", text, got, want)
		}
	}
}

// The value of a number does not change, and its plain form has no exponent and no zeros at the end.
func TestPlainNumber_KeepsTheValueExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		plain := PlainNumber(text)
		want, _ := new(big.Rat).SetString(text)
		got, ok := new(big.Rat).SetString(plain)
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("PlainNumber(%q) = %q, another value", text, plain)
		}
		if again := PlainNumber(plain); again != plain {
			t.Fatalf("PlainNumber(%q) = %q, want no change", plain, again)
		}
	})
}
