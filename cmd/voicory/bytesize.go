package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// byteSize is a number of bytes as a flag, such as 500MB or 1GiB.
type byteSize int64

type sizeUnit struct {
	name  string
	bytes int64
}

// sizeUnits lists the units of sizes, the largest first.
var sizeUnits = []sizeUnit{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10},
	{"KB", 1e3}, {"B", 1},
}

// String returns the size as a whole number of the largest unit that divides it.
func (b byteSize) String() string {
	divides := func(u sizeUnit) bool { return int64(b)%u.bytes == 0 }
	unit := sizeUnits[slices.IndexFunc(sizeUnits, divides)] // "B" always matches
	return strconv.FormatInt(int64(b)/unit.bytes, 10) + unit.name
}

// UnmarshalText parses a whole number with an optional unit.
func (b *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "KMGTiB")
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	for _, unit := range sizeUnits {
		if unit.name != cmp.Or(string(text[len(number):]), "B") || err != nil || n < 1 {
			continue
		}
		if n <= math.MaxInt64/unit.bytes/1024 { // callers multiply sizes
			*b = byteSize(n * unit.bytes)
			return nil
		}
	}
	return fmt.Errorf("invalid size %q (example: 500MB)", text)
}
