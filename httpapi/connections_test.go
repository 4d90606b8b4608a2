package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/uuid"
)

// fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.from }

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

// opened opens a connection and returns the context of its requests.
func opened(c *Connections, address string) (*fakeConn, context.Context) {
	conn := &fakeConn{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
	return conn, c.Opened(context.Background(), conn)
}

// closedOf returns the number of connections that were closed.
func closedOf(conns []*fakeConn) (n int) {
	for _, conn := range conns {
		if conn.closed {
			n++
		}
	}
	return n
}

func TestConnections_BoundThoseWithoutAKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trusted string
		address func(n int) string
		open    int
		want    int // connections that are closed
	}{
		"one address": {"192.0.2.0/24", func(int) string { return "10.0.0.1" }, maxAddressConnections + 9, 9},
		"one address in two ways": {"192.0.2.0/24", func(n int) string {
			return []string{"10.0.0.1", "::ffff:10.0.0.1"}[n%2]
		}, maxAddressConnections + 9, 9},
		"one network of IPv6": {"192.0.2.0/24", func(n int) string { return fmt.Sprintf("2001:db8::%x", n) },
			maxAddressConnections + 9, 9},
		"many addresses": {"192.0.2.0/24", func(n int) string { return fmt.Sprintf("10.0.%d.%d", n/256, n%256) },
			maxPendingConnections + 9, 9},
		"a trusted proxy": {"10.0.0.0/8", func(int) string { return "10.0.0.1" }, maxAddressConnections + 9, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewConnections([]netip.Prefix{netip.MustParsePrefix(test.trusted)})
			keyed, ctx := opened(c, test.address(0))
			if authenticated(ctx, uuid.New()) {
				t.Error("the first connection of a tenant: got too many, want not")
			}
			bystander, _ := opened(c, "172.16.0.1")
			var conns []*fakeConn
			for n := range test.open {
				if name == "many addresses" && n == 0 {
					c.Changed(bystander, http.StateClosed) // it would be the oldest of all
				}
				conn, _ := opened(c, test.address(n))
				conns = append(conns, conn)
			}
			if got := closedOf(conns); got != test.want || closedOf(conns[:test.want]) != test.want {
				t.Errorf("got %d closed connections, %d of the oldest, want the %d oldest", got, closedOf(conns[:test.want]),
					test.want)
			}
			if keyed.closed || bystander.closed {
				t.Errorf("got a closed connection with a key (%v) or of another address (%v), want neither", keyed.closed,
					bystander.closed)
			}
			for _, conn := range append(conns, keyed, bystander) {
				c.Changed(conn, http.StateClosed)
			}
			if len(c.open)+c.pending.Len()+len(c.addresses)+len(c.tenants) != 0 {
				t.Errorf("after all have ended: got %d open, %d pending, %d addresses, %d tenants, want 0", len(c.open),
					c.pending.Len(), len(c.addresses), len(c.tenants))
			}
		})
	}
}

func TestConnections_BoundThoseOfATenant(t *testing.T) {
	t.Parallel()
	c := NewConnections(nil)
	tenant, other := uuid.New(), uuid.New()
	var first *fakeConn
	for n := range maxTenantConnections {
		conn, ctx := opened(c, "10.0.0.1")
		for range 2 { // the second request on a connection is not counted again
			if authenticated(ctx, tenant) {
				t.Fatalf("connection %d: got too many, want at most %d allowed", n+1, maxTenantConnections)
			}
		}
		if first == nil {
			first = conn
		}
	}
	_, ctx := opened(c, "10.0.0.1")
	if !authenticated(ctx, tenant) {
		t.Errorf("connection %d: got allowed, want too many", maxTenantConnections+1)
	}
	if _, ctx := opened(c, "10.0.0.1"); authenticated(ctx, other) {
		t.Error("another tenant: got too many, want allowed")
	}
	c.Changed(first, http.StateClosed)
	if authenticated(ctx, tenant) {
		t.Error("after one connection has ended: got too many, want allowed")
	}
	if authenticated(ctx, other); c.tenants[tenant] != maxTenantConnections-1 || c.tenants[other] != 2 {
		t.Errorf("a connection that shows the key of another tenant: got %v", c.tenants)
	}
}
