package main

import (
	"net/netip"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/server"
	"github.com/voicory/warehouse/httpapi/limit"
)

// limitFlags are the flags of rate limits and concurrency limits.
type limitFlags struct {
	Redis         string         `help:"Redis that shares rate limits between servers: redis:// or rediss://, for a cluster with addr parameters, for sentinels with master_name." placeholder:"URL"`
	RedisTimeout  time.Duration  `help:"Maximum time for a reply of Redis (${default}). If it takes longer, the server counts requests by itself." default:"50ms" placeholder:"TIME"`
	RateLimit     limit.Rules    `help:"Maximum requests of a key in any time window, the longest window first (${default}). Keys can have their own; none removes the limit." default:"60/1m,10/5s" placeholder:"N/TIME"`
	FileWindow    time.Duration  `help:"Range requests of a key for one file within this time count as one request (${default}), up to a bound; 0s counts each." default:"1m" placeholder:"TIME"`
	GuessLimit    limit.Rules    `help:"Maximum requests with unknown keys from one address (${default})." default:"60/1m" placeholder:"N/TIME"`
	TrustedProxy  []proxyNetwork `help:"Address or network of a proxy whose X-Forwarded-For is trusted." placeholder:"NETWORK"`
	MaxConcurrent int            `help:"Maximum concurrent requests (${default}), at least 2; a tenant may have half of them. Further requests wait up to 5 s and then get 429 or 503." default:"64" placeholder:"N"`
}

// limits returns the limits that the flags describe.
func (f *limitFlags) limits() server.Limits {
	limits := server.Limits{
		Redis: f.Redis, RedisTimeout: f.RedisTimeout, Rate: f.RateLimit, Guess: f.GuessLimit, FileWindow: f.FileWindow,
		MaxConcurrent: f.MaxConcurrent,
	}
	for _, proxy := range f.TrustedProxy {
		limits.TrustedProxies = append(limits.TrustedProxies, proxy.Prefix)
	}
	return limits
}

// proxyNetwork is a network of proxies, or a single address.
type proxyNetwork struct{ netip.Prefix }

// UnmarshalText parses a network such as 10.0.0.0/8, or an address such as 10.0.0.1.
func (p *proxyNetwork) UnmarshalText(text []byte) (err error) {
	if address, err := netip.ParseAddr(string(text)); err == nil {
		p.Prefix, err = address.Prefix(address.BitLen())
		return err
	}
	p.Prefix, err = netip.ParsePrefix(string(text))
	return err
}
