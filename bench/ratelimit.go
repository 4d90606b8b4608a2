package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"

	"github.com/redis/go-redis/v9"
)

const (
	// Two rules, like the documented ones, that refuse no request.
	openLimits = "1000000/1m,1000000/5s"
	// Number of keys that are used in turn. The list of times per key then stays about as long as with the documented
	// limits, which allow at most 60 times.
	limitedKeys = 50

	limitedPairs = 100 // sequential pairs of requests per round

	targetLimited = 0.85 // × the requests per second without Redis
	targetAdds    = 0.5  // ms to the median
)

// redisLimitFigures are the figures of two servers with the same rows and rules; one of them counts in Redis.
type redisLimitFigures struct {
	redisSpeed, memorySpeed sample // requests per second, one figure per round
	redisOne, memoryOne     sample // ms per sequential request
	adds                    sample // difference of the medians in ms, one figure per round
}

// redisLimits measures the cost of counting requests in Redis.
func (b *bench) redisLimits(ctx context.Context, tenant, other *loaded, keys []string) error {
	if !b.canRun("redis-server", "limits in Redis") {
		return nil
	}
	path := fmt.Sprintf("/api/v1/calls?limit=%d", pageRows)
	l := &redisLimitFigures{}
	for i := range b.rounds {
		if err := b.withRedis(ctx, func(ctx context.Context, address string, counted *redis.Client) error {
			return b.withServer(ctx, tenant.data, keys[0], func(ctx context.Context, inMemory *client) error {
				return b.withServer(ctx, other.data, keys[0], func(ctx context.Context, inRedis *client) error {
					if err := b.limitsUnderLoad(ctx, l, inRedis, inMemory, counted, path, keys[:limitedKeys]); err != nil {
						return err
					}
					return l.oneByOne(ctx, inRedis, inMemory, path, keys[:limitedKeys])
				}, "--rate-limit", openLimits, "--redis", "redis://"+address, "--redis-timeout", readyTimeout.String())
			}, "--rate-limit", openLimits)
		}); err != nil {
			return fmt.Errorf("limits in Redis: %w", err)
		}
		logf("round %d: limits in Redis %.0f/s, in memory %.0f/s; a request alone %+.2f ms", i+1, l.redisSpeed[i],
			l.memorySpeed[i], l.adds[i])
	}
	work, against := fmt.Sprintf("first page of %d calls, limits in Redis", pageRows), "the same with limits in memory"
	ratios := ratioOfEach(l.redisSpeed, l.memorySpeed)
	b.table.add(row{fmt.Sprintf("%s, %d connections: requests per second", work, clients), against,
		fmt.Sprintf("≥ %g×", targetLimited),
		fmt.Sprintf("%.0f/s against %.0f/s", l.redisSpeed.median(), l.memorySpeed.median()),
		result(ratios.ratio(), ratios.median() >= targetLimited)})
	b.table.add(row{work + ", one connection: median", against, fmt.Sprintf("adds ≤ %g ms", targetAdds),
		fmt.Sprintf("%.2f ms against %.2f ms", l.redisOne.median(), l.memoryOne.median()),
		result(fmt.Sprintf("%+.2f ms", l.adds.median()), l.adds.median() <= targetAdds)})
	return nil
}

// limitsUnderLoad measures one round of concurrent requests.
func (b *bench) limitsUnderLoad(
	ctx context.Context,
	l *redisLimitFigures,
	inRedis, inMemory *client,
	counted *redis.Client,
	path string,
	keys []string,
) error {
	var lines bytes.Buffer
	for _, key := range keys {
		fmt.Fprintln(&lines, key, path)
	}
	speeds, err := measurePair(ctx, b.wrk(inRedis.url, clients, lines.Bytes()),
		b.wrk(inMemory.url, clients, lines.Bytes()))
	if err != nil {
		return err
	}
	runs, err := scriptRuns(ctx, counted)
	if err != nil {
		return err
	}
	if runs < speeds[0].requests { // otherwise the server used its fallback
		return fmt.Errorf("of %d requests %d were counted in Redis", speeds[0].requests, runs)
	}
	l.redisSpeed, l.memorySpeed = append(l.redisSpeed, speeds[0].perSecond), append(l.memorySpeed, speeds[1].perSecond)
	return nil
}

// oneByOne measures one round of sequential requests. Under load the time in the queue would hide the time that Redis
// adds.
func (l *redisLimitFigures) oneByOne(ctx context.Context, inRedis, inMemory *client, path string, keys []string) error {
	took := map[*client]sample{}
	for i := range warmUps + limitedPairs {
		for _, c := range []*client{inRedis, inMemory} {
			c.key = keys[i%len(keys)]
			var one sample
			if err := one.timed(func() error {
				_, err := c.get(ctx, path)
				return err
			}); err != nil {
				return err
			}
			if i >= warmUps {
				took[c] = append(took[c], one...)
			}
		}
	}
	l.redisOne, l.memoryOne = append(l.redisOne, took[inRedis]...), append(l.memoryOne, took[inMemory]...)
	l.adds = append(l.adds, took[inRedis].median()-took[inMemory].median())
	return nil
}

// withRedis calls use while an empty Redis without persistence runs.
func (b *bench) withRedis(
	ctx context.Context,
	use func(ctx context.Context, address string, client *redis.Client) error,
) (err error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	defer func() { err = errors.Join(err, client.Close()) }()
	return b.withProcess(ctx, func(ctx context.Context) error { return client.Ping(ctx).Err() },
		func(ctx context.Context) error { return use(ctx, address, client) },
		"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", b.dir)
}

var evalsha = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`)

// scriptRuns returns the number of scripts that Redis has run: one per counted request.
func scriptRuns(ctx context.Context, client *redis.Client) (int, error) {
	stats, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, fmt.Errorf("read the statistics of Redis: %w", err)
	}
	found := evalsha.FindStringSubmatch(stats)
	if found == nil {
		return 0, nil // Redis has run no script
	}
	return strconv.Atoi(found[1])
}
