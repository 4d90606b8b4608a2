package warehouse

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestLakeCache_Victims draws files of tenants and requires of each selection of victims:
//
//   - no victim is pinned, kept or not in the bucket,
//   - the others have at most the bound, unless no more could be evicted,
//   - no tenant loses a file within its share that it has used recently, while another file could be evicted instead,
//   - no victim was used after a file that stays, unless a share protects one of them.
func TestLakeCache_Victims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		c := &lakeCache{bound: rapid.Int64Range(1, 3000).Draw(t, "bound"), files: map[uuid.UUID]map[string]*cachedFile{},
			pins: map[fileKey]*pin{}}
		active := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "tenants") {
			tenant, recent := uuid.New(), false
			for i := range rapid.IntRange(0, 8).Draw(t, "files") {
				age := time.Duration(rapid.IntRange(0, 120).Draw(t, "age")) * time.Minute
				file := &cachedFile{bytes: rapid.Int64Range(1, 500).Draw(t, "bytes"), used: now.Add(-age),
					stored: rapid.IntRange(0, 5).Draw(t, "stored") > 0, kept: rapid.IntRange(0, 5).Draw(t, "kept") == 0}
				key := fileKey{tenant, fmt.Sprint(i)}
				c.insert(tenant, key.name, file)
				if rapid.IntRange(0, 5).Draw(t, "pinned") == 0 {
					c.pins[key] = &pin{}
				}
				recent = recent || age < recentUse
			}
			if recent {
				active++
			}
		}
		victims := c.victims(now)
		left, movable, share := c.bytes, int64(0), c.bound/max(active, 1)
		recentBytes, unprotected, lost := map[uuid.UUID]int64{}, false, map[uuid.UUID]bool{}
		var newestIdle, oldestIdle time.Time // of the victims, and of the files that stay
		for tenant, files := range c.files {
			for name, file := range files {
				evictable := file.stored && !file.kept && c.pins[fileKey{tenant, name}] == nil
				victim, recent := victims[tenant][name], now.Sub(file.used) < recentUse
				if victim && !evictable {
					t.Fatalf("%+v is a victim", file)
				}
				if victim {
					left -= file.bytes
				} else if evictable {
					movable++
				}
				if evictable && recent {
					recentBytes[tenant] += file.bytes
					lost[tenant] = lost[tenant] || victim
				}
				if evictable && !recent {
					unprotected = unprotected || !victim
					if victim && file.used.After(newestIdle) {
						newestIdle = file.used
					} else if !victim && (oldestIdle.IsZero() || file.used.Before(oldestIdle)) {
						oldestIdle = file.used
					}
				}
			}
		}
		if left > c.bound && movable > 0 {
			t.Fatalf("%d bytes are left of a bound of %d, and %d files could be evicted", left, c.bound, movable)
		}
		for tenant, has := range lost {
			if has && recentBytes[tenant] <= share && unprotected {
				t.Fatalf("tenant %s lost a file of %d recent bytes, share %d, before a file that no share protects", tenant,
					recentBytes[tenant], share)
			}
		}
		if !oldestIdle.IsZero() && newestIdle.After(oldestIdle) {
			t.Fatal("a victim was used after a file that stays")
		}
	})
}
