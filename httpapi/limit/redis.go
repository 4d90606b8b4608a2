package limit

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed take.lua
var takeScript string

// Redis limits in a Redis that several servers share: one round trip and one atomic step for each request, by the clock
// of Redis. What it holds of a subject is bounded, and expires.
type Redis struct {
	client redis.Scripter
	script *redis.Script
}

// NewRedis makes a limiter on the client, which the caller closes.
func NewRedis(client redis.Scripter) *Redis {
	return &Redis{client, redis.NewScript(takeScript)}
}

// Take fails where Redis does.
func (r *Redis) Take(ctx context.Context, subject string, rules Rules) (Decision, error) {
	args := make([]any, 0, 2*len(rules))
	for _, rule := range rules {
		args = append(args, rule.Max, rule.Window.Microseconds())
	}
	answer, err := r.script.Run(ctx, r.client, []string{"voicory:limit:" + subject}, args...).Int64Slice()
	if err != nil {
		return Decision{}, fmt.Errorf("rate limit in Redis: %w", err)
	}
	before := standing{passed: int(answer[0]), newest: age(answer[1])}
	for _, microseconds := range answer[2:] {
		before.nth = append(before.nth, age(microseconds))
	}
	return rules.decide(before), nil
}

// age is one that the script has told; -1 is none.
func age(microseconds int64) time.Duration {
	if microseconds < 0 {
		return longAgo
	}
	return time.Duration(microseconds) * time.Microsecond
}
