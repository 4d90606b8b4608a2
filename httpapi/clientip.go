package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// addressKey returns the address as a key for limits. An IPv6 address is reduced to its /64 prefix, because one
// client usually has the whole prefix.
func addressKey(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// clientAddress returns the address of the client. This is the peer of the connection, or, if the peer is a
// trusted proxy, the last address in X-Forwarded-For that is not a trusted proxy. The client itself may have
// written the entries before that one, so they are ignored.
func (a *api) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.trusted(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	return address
}

func (a *api) trusted(address netip.Addr) bool { return contains(a.TrustedProxies, address) }

// contains reports whether one of the networks contains the address.
func contains(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(address) })
}
