package server

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

// Limits are the rate limits and the limits of concurrency.
type Limits struct {
	Redis          string        // URL of the Redis that shares rate limits between servers; "": none
	RedisTimeout   time.Duration // maximum time for a reply of Redis
	Rate           limit.Rules   // of a key that has none of its own
	Guess          limit.Rules   // of requests with unknown keys from one address
	FileWindow     time.Duration // range requests of a key for one file within this time count as one; 0: each counts
	TrustedProxies []netip.Prefix
	MaxConcurrent  int // requests, at least 2
}

const (
	redisRetryInterval = time.Second // pause between two attempts to reach a Redis that does not reply
	maxKeys            = 1_000_000   // keys whose requests are counted
	maxGuessAddresses  = 100_000     // addresses whose unknown keys are counted
)

// apply sets the options of the API that the limits determine. closeRedis closes the connections to Redis, if any. It
// returns warehouse.ErrInvalid if a limit is invalid.
func (l Limits) apply(
	options *httpapi.Options, registry *prometheus.Registry, log *slog.Logger,
) (closeRedis func() error, err error) {
	local := limit.NewMemory(maxKeys, time.Now)
	options.Limiter, options.Rules = local, l.Rate
	options.Guesses, options.GuessRules = limit.NewMemory(maxGuessAddresses, time.Now), l.Guess
	options.FileWindow, options.TrustedProxies = l.FileWindow, l.TrustedProxies
	if l.MaxConcurrent < 2 {
		return nil, fmt.Errorf("%w: --max-concurrent %d: want at least 2, so that one tenant cannot take every slot",
			warehouse.ErrInvalid, l.MaxConcurrent)
	}
	options.Slots = httpapi.NewSlots(l.MaxConcurrent)
	if l.Redis == "" {
		log.Info("rate limits apply to this process only; use --redis to share them between servers")
		return func() error { return nil }, nil
	}
	client, err := redisClient(l.Redis)
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
	shared := limit.NewFallback(limit.NewRedis(client), local, l.RedisTimeout, redisRetryInterval, onChange)
	options.Limiter = shared
	options.Checks = append(options.Checks, httpapi.Check{Name: "redis", Run: func(ctx context.Context) error {
		if !shared.Healthy() {
			return errors.New("no reply from Redis to the rate limiter")
		}
		ctx, cancel := context.WithTimeout(ctx, l.RedisTimeout)
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
