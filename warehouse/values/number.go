package values

import (
	"regexp"
	"strconv"
	"strings"
)

var exponentForm = regexp.MustCompile(`^([+-]?)(\d*)\.?(\d*)[eE]([+-]?\d{1,3})$`)

// PlainNumber returns a decimal number without an exponent and without decimals that are zero: 919812345678.0 and
// 9.19812345678e11 become 919812345678. The value stays exactly the same. It returns other texts unchanged.
func PlainNumber(text string) string {
	if m := exponentForm.FindStringSubmatch(text); m != nil && m[2]+m[3] != "" {
		exponent, _ := strconv.Atoi(m[4]) // cannot fail for at most three digits
		digits, point := m[2]+m[3], len(m[2])+exponent
		if point < 0 {
			digits, point = strings.Repeat("0", -point)+digits, 0
		}
		if missing := point - len(digits); missing > 0 {
			digits += strings.Repeat("0", missing)
		}
		whole := strings.TrimLeft(digits[:point], "0")
		if whole == "" {
			whole = "0"
		}
		text = m[1] + whole + "." + digits[point:]
	}
	whole, fraction, found := strings.Cut(text, ".")
	if !found || strings.Trim(strings.TrimLeft(whole, "+-"), "0123456789") != "" || strings.TrimLeft(whole, "+-") == "" ||
		strings.Trim(fraction, "0123456789") != "" {
		return text
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
