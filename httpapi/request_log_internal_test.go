package httpapi

import (
	"net/netip"
	"testing"
	"time"
)

func TestKeylessLog_BoundsEntriesOfAnAddressAndOfAll(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	l := newKeylessLog(func() time.Time { return now })
	admitted := func(address string) (n int) {
		for range 1000 {
			if l.admit(netip.MustParseAddr(address)) {
				n++
			}
		}
		return n
	}
	for round := range 2 {
		all := 0
		for _, test := range []struct {
			address string
			want    int
		}{{"10.0.0.1", 60}, {"10.0.0.1", 0}, {"10.0.0.2", 60}, {"2001:db8::1", 60}, {"2001:db8::2", 0},
			{"2001:db8:0:1::1", 60}} {
			got := admitted(test.address)
			if got != test.want {
				t.Errorf("round %d, %s: got %d entries of 1000 requests, want %d", round, test.address, got, test.want)
			}
			all += got
		}
		for n := range 100 {
			all += admitted(netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}).String())
		}
		if all != 600 {
			t.Errorf("round %d: got %d entries of all addresses, want 600", round, all)
		}
		now = now.Add(time.Minute + time.Second)
	}
}
