package server

import (
	"strings"
	"testing"
)

func TestRedisClient_URLs(t *testing.T) {
	for text, good := range map[string]bool{
		"redis://localhost:6379/0": true, "rediss://user:secret@example.com:6380": true,
		"redis://localhost:6379?addr=localhost:6380":                    true,
		"redis://localhost:26379?master_name=main&addr=localhost:26380": true,
		"http://localhost": false, "redis://user:secret@localhost:6379/x": false, "::": false,
	} {
		client, err := redisClient(text)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
		if client != nil {
			noError(t, client.Close())
		}
	}
}
