package httpapi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/google/uuid"
)

// Connections bounds the open connections of a server. A connection without a request with a valid key counts for its address. When there
// are too many, the oldest of the address is closed, not the new one refused: a client with a key sends it at once, and is no longer counted
// here, while connections that only keep the server waiting push each other out. A connection with a valid key counts for the key's tenant.
// When the tenant has too many, its connections end after their current answer.
type Connections struct {
	trusted func(netip.Addr) bool

	mu        sync.Mutex
	open      map[net.Conn]*connection
	pending   list.List             // of *connection without a key, oldest first
	addresses map[string]*list.List // the same by address
	tenants   map[uuid.UUID]int     // connections with a valid key
}

type connection struct {
	connections *Connections
	conn        net.Conn
	address     string
	inAll, own  *list.Element // in pending and in addresses; nil: the connection has shown a key, or comes from a trusted proxy
	tenant      uuid.NullUUID
}

// Bounds of open connections.
const (
	maxAddressConnections = 256
	maxPendingConnections = 4096
	maxTenantConnections  = 1024
)

// NewConnections returns bounds for one server. Connections of trusted proxies, which bundle the clients of many addresses, are not bounded by
// address.
func NewConnections(trustedProxies []netip.Prefix) *Connections {
	return &Connections{trusted: func(address netip.Addr) bool { return contains(trustedProxies, address) },
		open: map[net.Conn]*connection{}, addresses: map[string]*list.List{}, tenants: map[uuid.UUID]int{}}
}

type connectionKey struct{}

// Opened counts a new connection, for [http.Server.ConnContext].
func (c *Connections) Opened(ctx context.Context, conn net.Conn) context.Context {
	opened := &connection{connections: c, conn: conn}
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	bounded := err == nil && !c.trusted(peer.Addr().Unmap())
	c.mu.Lock()
	c.open[conn] = opened
	var evicted []*connection
	if bounded {
		opened.address = guesser(peer.Addr().Unmap())
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
	return context.WithValue(ctx, connectionKey{}, opened)
}

// Changed forgets a connection that has ended, for [http.Server.ConnState].
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

// settle removes a connection from those without a key. The caller holds mu.
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

// leave removes a connection from its tenant's. The caller holds mu.
func (c *Connections) leave(left *connection) {
	if !left.tenant.Valid {
		return
	}
	if c.tenants[left.tenant.UUID]--; c.tenants[left.tenant.UUID] == 0 {
		delete(c.tenants, left.tenant.UUID)
	}
	left.tenant = uuid.NullUUID{}
}

// authenticated counts the connection of a request, if the server bounds them, for the tenant of the request's key. It reports whether the
// tenant has too many.
func authenticated(ctx context.Context, tenant uuid.UUID) (tooMany bool) {
	conn, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return false
	}
	c := conn.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[conn.conn] != conn {
		return false // it has ended meanwhile
	}
	c.settle(conn)
	if now := (uuid.NullUUID{UUID: tenant, Valid: true}); conn.tenant != now {
		c.leave(conn)
		conn.tenant = now
		c.tenants[tenant]++
	}
	return c.tenants[tenant] > maxTenantConnections
}
