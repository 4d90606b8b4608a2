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
	// Rules that refuse nothing, as many as are documented.
	openLimits = "1000000/1m,1000000/5s"
	// Keys that ask in turn, so that what is kept of each stays about as long as it is under the documented limits, which
	// let no more than 60 times be kept.
	limitedKeys = 50

	limitedPairs = 100 // asked one after the other, in each round

	reachLimited = 0.85 // × the requests per second without Redis
	reachAdds    = 0.5  // ms to the median
)

// limited is what was measured of two servers of the same rows and rules, one of which counts in Redis.
type limited struct {
	redisSpeed, memorySpeed sample // requests per second, one for each round
	redisOne, memoryOne     sample // ms of a request while no other is asked
	adds                    sample // ms to the median of these, one for each round
}

// limitedInRedis measures what it costs that the requests of keys are counted in Redis.
func (b *bench) limitedInRedis(ctx context.Context, tenant, other *loaded, keys []string) error {
	if !b.canRun("redis-server", "limits in Redis") {
		return nil
	}
	path := fmt.Sprintf("/api/v1/calls?limit=%d", pageRows)
	l := &limited{}
	for i := range b.rounds {
		if err := b.withRedis(ctx, func(ctx context.Context, address string, counted *redis.Client) error {
			return b.served(ctx, tenant.data, keys[0], func(ctx context.Context, inMemory *client) error {
				return b.served(ctx, other.data, keys[0], func(ctx context.Context, inRedis *client) error {
					if err := b.limitsUnderLoad(ctx, l, inRedis, inMemory, counted, path, keys[:limitedKeys]); err != nil {
						return err
					}
					return l.oneByOne(ctx, inRedis, inMemory, path, keys[:limitedKeys])
				}, "--rate-limit", openLimits, "--redis", "redis://"+address, "--redis-timeout", readyTimeout.String())
			}, "--rate-limit", openLimits)
		}); err != nil {
			return fmt.Errorf("limits in Redis: %w", err)
		}
		note("round %d: limits in Redis %.0f/s, in memory %.0f/s; a request alone %+.2f ms", i+1, l.redisSpeed[i], l.memorySpeed[i], l.adds[i])
	}
	work, against := fmt.Sprintf("first page of %d calls, limits in Redis", pageRows), "the same with limits in memory"
	ratios := each(l.redisSpeed, l.memorySpeed)
	b.table.add(row{fmt.Sprintf("%s, %d connections: requests per second", work, clients), against, fmt.Sprintf("≥ %g×", reachLimited),
		fmt.Sprintf("%.0f/s against %.0f/s", l.redisSpeed.median(), l.memorySpeed.median()), verdict(ratios.ratio(), ratios.median() >= reachLimited)})
	b.table.add(row{work + ", one connection: median", against, fmt.Sprintf("adds ≤ %g ms", reachAdds),
		fmt.Sprintf("%.2f ms against %.2f ms", l.redisOne.median(), l.memoryOne.median()),
		verdict(fmt.Sprintf("%+.2f ms", l.adds.median()), l.adds.median() <= reachAdds)})
	return nil
}

// limitsUnderLoad is one round of many requests at once.
func (b *bench) limitsUnderLoad(ctx context.Context, l *limited, inRedis, inMemory *client, counted *redis.Client, path string, keys []string) error {
	var lines bytes.Buffer
	for _, key := range keys {
		fmt.Fprintln(&lines, key, path)
	}
	speeds, err := inTurns(ctx, b.wrk(inRedis.url, clients, lines.Bytes()), b.wrk(inMemory.url, clients, lines.Bytes()))
	if err != nil {
		return err
	}
	runs, err := scriptRuns(ctx, counted)
	if err != nil {
		return err
	}
	if runs < speeds[0].requests { // a server that gives Redis up would look good
		return fmt.Errorf("of %d requests %d were counted in Redis", speeds[0].requests, runs)
	}
	l.redisSpeed, l.memorySpeed = append(l.redisSpeed, speeds[0].perSecond), append(l.memorySpeed, speeds[1].perSecond)
	return nil
}

// oneByOne is one round of requests of which none waits for another: under load a request waits so long for its turn that
// what Redis adds to it does not show.
func (l *limited) oneByOne(ctx context.Context, inRedis, inMemory *client, path string, keys []string) error {
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

// withRedis runs an empty Redis that keeps nothing for as long as use takes.
func (b *bench) withRedis(ctx context.Context, use func(ctx context.Context, address string, client *redis.Client) error) (err error) {
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
	return b.during(ctx, func(ctx context.Context) error { return client.Ping(ctx).Err() },
		func(ctx context.Context) error { return use(ctx, address, client) },
		"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", b.dir)
}

var evalsha = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`)

// scriptRuns is how many scripts Redis has run: one for each request that it counted.
func scriptRuns(ctx context.Context, client *redis.Client) (int, error) {
	stats, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis what it did: %w", err)
	}
	found := evalsha.FindStringSubmatch(stats)
	if found == nil {
		return 0, nil // none yet
	}
	return strconv.Atoi(found[1])
}
