package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
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

const (
	redisRetryInterval = time.Second // pause between two attempts to reach a Redis that does not reply
	maxKeys            = 1_000_000   // keys whose requests are counted
	maxGuessAddresses  = 100_000     // addresses whose unknown keys are counted
)

// apply sets the options of the API that the flags determine. closeRedis closes the connections to Redis, if any. It
// returns warehouse.ErrInvalid if a flag is invalid.
func (c *limitFlags) apply(
	options *httpapi.Options, registry *prometheus.Registry, log *slog.Logger,
) (closeRedis func() error, err error) {
	local := limit.NewMemory(maxKeys, time.Now)
	options.Limiter, options.Rules = local, c.RateLimit
	options.Guesses, options.GuessRules = limit.NewMemory(maxGuessAddresses, time.Now), c.GuessLimit
	options.FileWindow = c.FileWindow
	if c.MaxConcurrent < 2 {
		return nil, fmt.Errorf("%w: --max-concurrent %d: want at least 2, so that one tenant cannot take every slot",
			warehouse.ErrInvalid, c.MaxConcurrent)
	}
	options.Slots = httpapi.NewSlots(c.MaxConcurrent)
	for _, proxy := range c.TrustedProxy {
		options.TrustedProxies = append(options.TrustedProxies, proxy.Prefix)
	}
	if c.Redis == "" {
		log.Info("rate limits apply to this process only; use --redis to share them between servers")
		return func() error { return nil }, nil
	}
	client, err := redisClient(c.Redis)
	if err != nil {
		return nil, fmt.Errorf("%w: --redis: %w", warehouse.ErrInvalid, err)
	}
	onChange := func(healthy bool, cause error) {
		if healthy {
			log.Info("Redis replies again; rate limits are shared")
		} else {
			log.Warn("Redis does not reply; rate limits apply to this process only", "error", cause)
		}
	}
	shared := limit.NewFallback(limit.NewRedis(client), local, c.RedisTimeout, redisRetryInterval, onChange)
	options.Limiter = shared
	options.Checks = append(options.Checks, httpapi.Check{Name: "redis", Run: func(ctx context.Context) error {
		if !shared.Healthy() {
			return errors.New("no reply from Redis to the rate limiter")
		}
		ctx, cancel := context.WithTimeout(ctx, c.RedisTimeout)
		defer cancel()
		return client.Ping(ctx).Err()
	}})
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "voicory_redis_up",
		Help: "1 if the last request to Redis was answered in time; if 0, rate limits apply to this process only.",
	}, func() float64 {
		if shared.Healthy() {
			return 1
		}
		return 0
	}))
	return client.Close, nil
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

// redisClient returns a client for the URL of a single Redis, of a cluster (if the URL has addr parameters) or of
// sentinels (if it has master_name). Its errors do not contain the password of the URL.
func redisClient(text string) (redis.UniversalClient, error) {
	location, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a valid URL") // err would contain the URL and its password
	}
	query := location.Query()
	switch {
	case query.Has("master_name"):
		options, err := redis.ParseFailoverURL(text)
		if err != nil {
			return nil, redactPassword(err, location)
		}
		options.ContextTimeoutEnabled = true
		return redis.NewFailoverClient(options), nil
	case query.Has("addr"):
		options, err := redis.ParseClusterURL(text)
		if err != nil {
			return nil, redactPassword(err, location)
		}
		options.ContextTimeoutEnabled = true
		return redis.NewClusterClient(options), nil
	default:
		options, err := redis.ParseURL(text)
		if err != nil {
			return nil, redactPassword(err, location)
		}
		options.ContextTimeoutEnabled = true // otherwise the client ignores the deadline if Redis hangs
		return redis.NewClient(options), nil
	}
}

// redactPassword returns err with the password of the URL replaced.
func redactPassword(err error, location *url.URL) error {
	password, ok := location.User.Password()
	if !ok || password == "" {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "…"))
}
