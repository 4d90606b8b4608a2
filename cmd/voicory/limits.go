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

// limitFlags say how many requests may come.
type limitFlags struct {
	Redis         string         `help:"Redis in which several servers share the rate limits: redis://, rediss://, also of a cluster or (with master_name) of sentinels." placeholder:"URL"`
	RedisTimeout  time.Duration  `help:"How long an answer of Redis is waited for (${default}); a server whose Redis is slower counts by itself." default:"50ms" placeholder:"TIME"`
	RateLimit     limit.Rules    `help:"Requests that each key has in any stretch of time, the longest first (${default}), unless the key has its own; none lifts it." default:"60/1m,10/5s" placeholder:"N/TIME"`
	FileWindow    time.Duration  `help:"How long the parts of one file count as one request of a key (${default}), within bounds; 0s lets each count." default:"1m" placeholder:"TIME"`
	GuessLimit    limit.Rules    `help:"Unknown keys that one address may try (${default})." default:"60/1m" placeholder:"N/TIME"`
	TrustedProxy  []proxyNetwork `help:"Address or network of a proxy whose X-Forwarded-For is believed." placeholder:"NETWORK"`
	MaxConcurrent int            `help:"Maximum concurrent requests (${default}), at least 2; a tenant may have half of them. Further requests wait up to 5 s and then get 429 or 503." default:"64" placeholder:"N"`
}

const (
	redisRetryInterval = time.Second // between two looks at a Redis that does not answer
	maxKeys            = 1_000_000   // keys and addresses that are counted at a time
	maxGuessAddresses  = 100_000
)

// set puts what the flags say into the API's options; close ends the connections to Redis.
func (c *limitFlags) apply(options *httpapi.Options, registry *prometheus.Registry, log *slog.Logger) (closeRedis func() error, err error) {
	local := limit.NewMemory(maxKeys, time.Now)
	options.Limiter, options.Rules = local, c.RateLimit
	options.Guesses, options.GuessRules = limit.NewMemory(maxGuessAddresses, time.Now), c.GuessLimit
	options.FileWindow = c.FileWindow
	if c.MaxConcurrent < 2 {
		return nil, fmt.Errorf("%w: --max-concurrent %d is less than 2: one tenant could keep all others out", warehouse.ErrInvalid, c.MaxConcurrent)
	}
	options.Slots = httpapi.NewSlots(c.MaxConcurrent)
	for _, proxy := range c.TrustedProxy {
		options.TrustedProxies = append(options.TrustedProxies, proxy.Prefix)
	}
	if c.Redis == "" {
		log.Info("rate limits hold within this process; --redis shares them between servers")
		return func() error { return nil }, nil
	}
	client, err := redisClient(c.Redis)
	if err != nil {
		return nil, fmt.Errorf("%w: --redis: %w", warehouse.ErrInvalid, err)
	}
	shared := limit.NewFallback(limit.NewRedis(client), local, c.RedisTimeout, redisRetryInterval, func(healthy bool, cause error) {
		if healthy {
			log.Info("Redis is back; rate limits are shared again")
		} else {
			log.Warn("Redis does not answer; rate limits hold within this process", "error", cause)
		}
	})
	options.Limiter = shared
	options.Checks = append(options.Checks, httpapi.Check{Name: "redis", Run: func(ctx context.Context) error {
		if !shared.Healthy() {
			return errors.New("the limiter found Redis away")
		}
		ctx, cancel := context.WithTimeout(ctx, c.RedisTimeout)
		defer cancel()
		return client.Ping(ctx).Err()
	}})
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "voicory_redis_up",
		Help: "Whether Redis answered in time when it was last asked; 0: rate limits hold within this process."}, func() float64 {
		if shared.Healthy() {
			return 1
		}
		return 0
	}))
	return client.Close, nil
}

// proxies are one address or a network of them.
type proxyNetwork struct{ netip.Prefix }

// UnmarshalText reads 10.0.0.0/8 or 10.0.0.1.
func (p *proxyNetwork) UnmarshalText(text []byte) (err error) {
	if address, err := netip.ParseAddr(string(text)); err == nil {
		p.Prefix, err = address.Prefix(address.BitLen())
		return err
	}
	p.Prefix, err = netip.ParsePrefix(string(text))
	return err
}

// redisClient reads a URL of one Redis, of a cluster (several addr parameters) or of sentinels (master_name).
func redisClient(text string) (redis.UniversalClient, error) {
	location, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is no URL") // the URL itself may hold a password
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
		options.ContextTimeoutEnabled = true // else a Redis that hangs is waited for beyond the timeout
		return redis.NewClient(options), nil
	}
}

// withoutSecrets is the error without the URL's password.
func redactPassword(err error, location *url.URL) error {
	password, ok := location.User.Password()
	if !ok || password == "" {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "…"))
}
