package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
)

// redisRetry is how often a Redis that does not answer is looked for.
const redisRetry = time.Second

// limiter makes the limiter that the flags ask for; close ends its connections.
func (c *serveCommand) limiter(log *slog.Logger) (_ limit.Limiter, closing func() error, err error) {
	local := limit.NewMemory(time.Now)
	if c.Redis == "" {
		log.Info("rate limits hold within this process; --redis shares them between servers")
		return local, func() error { return nil }, nil
	}
	client, err := redisClient(c.Redis)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: --redis: %w", warehouse.ErrInvalid, err)
	}
	return limit.NewFallback(limit.NewRedis(client), local, c.RedisTimeout, redisRetry, func(healthy bool, cause error) {
		if healthy {
			log.Info("Redis is back; rate limits are shared again")
		} else {
			log.Warn("Redis does not answer; rate limits hold within this process", "error", cause)
		}
	}), client.Close, nil
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
			return nil, withoutSecrets(err, location)
		}
		options.ContextTimeoutEnabled = true
		return redis.NewFailoverClient(options), nil
	case query.Has("addr"):
		options, err := redis.ParseClusterURL(text)
		if err != nil {
			return nil, withoutSecrets(err, location)
		}
		options.ContextTimeoutEnabled = true
		return redis.NewClusterClient(options), nil
	default:
		options, err := redis.ParseURL(text)
		if err != nil {
			return nil, withoutSecrets(err, location)
		}
		options.ContextTimeoutEnabled = true // else a Redis that hangs is waited for beyond the timeout
		return redis.NewClient(options), nil
	}
}

// withoutSecrets is the error without the URL's password.
func withoutSecrets(err error, location *url.URL) error {
	password, ok := location.User.Password()
	if !ok || password == "" {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "…"))
}
