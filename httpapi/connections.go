package httpapi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// Connections bounds the open connections of a server.
//
// A connection that has sent no valid key counts for its address. At the bound, the oldest such connection is
// closed to admit a new one. A client with a key sends it at once and is then no longer counted here, so only idle
// connections replace each other.
//
// A connection that has sent a valid key counts for the tenant of the key. If the tenant is over its bound, its
// connections are closed after their current response.
type Connections struct {
	trusted func(netip.Addr) bool

	mu        sync.Mutex // guards the fields below
	open      map[net.Conn]*connection
	pending   list.List             // of *connection without a valid key, oldest first
	addresses map[string]*list.List // the same connections by address
	tenants   map[uuid.UUID]int     // number of connections with a valid key
}

// connection is an open connection. Connections.mu guards its fields.
type connection struct {
	connections *Connections
	conn        net.Conn
	address     string
	// Elements of pending and of addresses; nil: the connection has sent a valid key or is from a trusted proxy.
	inAll, own *list.Element
	tenant     uuid.NullUUID // of the last valid key
}

// Bounds of open connections.
const (
	maxAddressConnections = 256  // of one address, without a valid key
	maxPendingConnections = 4096 // of all addresses, without a valid key
	maxTenantConnections  = 1024 // of one tenant, with a valid key
)

// NewConnections returns the bounds for one server. Connections from trusted proxies are not bounded by address,
// because they carry the requests of many clients.
func NewConnections(trustedProxies []netip.Prefix) *Connections {
	return &Connections{trusted: func(address netip.Addr) bool { return contains(trustedProxies, address) },
		open: map[net.Conn]*connection{}, addresses: map[string]*list.List{}, tenants: map[uuid.UUID]int{}}
}

type connectionKey struct{}

// Opened counts a new connection and may close older ones. It is for [http.Server.ConnContext]. The context that it
// returns also makes an aborted response to HTTP/1.0 end with RST, so that it does not look complete.
func (c *Connections) Opened(ctx context.Context, conn net.Conn) context.Context {
	opened := &connection{connections: c, conn: conn}
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	bounded := err == nil && !c.trusted(peer.Addr().Unmap())
	c.mu.Lock()
	c.open[conn] = opened
	var evicted []*connection
	if bounded {
		opened.address = addressKey(peer.Addr().Unmap())
		own := c.addresses[opened.address]
		if own == nil {
			own = list.New()
			c.addresses[opened.address] = own
		}
		opened.inAll, opened.own = c.pending.PushBack(opened), own.PushBack(opened)
		if own.Len() > maxAddressConnections {
			evicted = append(evicted, c.settle(own.Front().Value.(*connection)))
		}
		if c.pending.Len() > maxPendingConnections {
			evicted = append(evicted, c.settle(c.pending.Front().Value.(*connection)))
		}
	}
	c.mu.Unlock()
	for _, e := range evicted {
		e.conn.Close()
	}
	return context.WithValue(web.WithConn(ctx, conn), connectionKey{}, opened)
}

// Changed removes a connection that has been closed. It is for [http.Server.ConnState].
func (c *Connections) Changed(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	closed, ok := c.open[conn]
	if !ok {
		return
	}
	delete(c.open, conn)
	c.settle(closed)
	c.leave(closed)
}

// settle removes a connection from the connections without a valid key, and returns it. The caller holds mu.
func (c *Connections) settle(settled *connection) *connection {
	if settled.own != nil {
		own := c.addresses[settled.address]
		own.Remove(settled.own)
		if own.Len() == 0 {
			delete(c.addresses, settled.address)
		}
		c.pending.Remove(settled.inAll)
		settled.own, settled.inAll = nil, nil
	}
	return settled
}

// leave removes a connection from the count of its tenant. The caller holds mu.
func (c *Connections) leave(left *connection) {
	if !left.tenant.Valid {
		return
	}
	if c.tenants[left.tenant.UUID]--; c.tenants[left.tenant.UUID] == 0 {
		delete(c.tenants, left.tenant.UUID)
	}
	left.tenant = uuid.NullUUID{}
}

// authenticated counts the connection of a request for the tenant of its key. It reports whether the tenant has
// too many connections. It returns false if the server does not bound connections.
func authenticated(ctx context.Context, tenant uuid.UUID) (tooMany bool) {
	conn, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return false
	}
	c := conn.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[conn.conn] != conn {
		return false // closed meanwhile
	}
	c.settle(conn)
	if now := (uuid.NullUUID{UUID: tenant, Valid: true}); conn.tenant != now {
		c.leave(conn)
		conn.tenant = now
		c.tenants[tenant]++
	}
	return c.tenants[tenant] > maxTenantConnections
}
