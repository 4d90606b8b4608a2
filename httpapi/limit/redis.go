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

// Redis is a Limiter in a Redis server that several servers share. Each request is one round trip and one atomic
// script, which uses the clock of Redis. The data of a subject are bounded and expire.
type Redis struct {
	client redis.Scripter
	script *redis.Script
}

// NewRedis returns a limiter that uses client. The caller has to close client.
func NewRedis(client redis.Scripter) *Redis {
	return &Redis{client, redis.NewScript(takeScript)}
}

// Take implements Limiter. It returns the errors of Redis.
func (r *Redis) Take(ctx context.Context, subject string, rules Rules) (Decision, error) {
	args := make([]any, 0, 2*len(rules))
	for _, rule := range rules {
		args = append(args, rule.Max, rule.Window.Microseconds())
	}
	answer, err := r.script.Run(ctx, r.client, []string{"voicory:limit:" + subject}, args...).Int64Slice()
	if err != nil {
		return Decision{}, fmt.Errorf("rate limit in Redis: %w", err)
	}
	before := history{passed: int(answer[0]), newest: ageOf(answer[1])}
	for _, microseconds := range answer[2:] {
		before.nth = append(before.nth, ageOf(microseconds))
	}
	return rules.decide(before), nil
}

// ageOf converts an age that the script returned; -1 becomes noRequest.
func ageOf(microseconds int64) time.Duration {
	if microseconds < 0 {
		return noRequest
	}
	return time.Duration(microseconds) * time.Microsecond
}
