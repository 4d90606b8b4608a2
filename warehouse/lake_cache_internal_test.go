package warehouse

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestLakeCache_Victims draws files of tenants and requires of each selection of victims:
//
//   - no victim is pinned, kept or not in the bucket,
//   - the others have at most the bound, unless no more could be evicted,
//   - no file that a share protects is a victim while another file could be evicted instead,
//   - no victim was used after a file that stays, unless a share protects one of them.
func TestLakeCache_Victims(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		c := &lakeCache{bound: rapid.Int64Range(1, 3000).Draw(t, "bound"), files: map[uuid.UUID]map[string]*cachedFile{},
			pins: map[fileKey]*pin{}}
		active, drawn := int64(0), 0
		for range rapid.IntRange(1, 4).Draw(t, "tenants") {
			tenant, recent := uuid.New(), false
			for i := range rapid.IntRange(0, 8).Draw(t, "files") {
				age := time.Duration(rapid.IntRange(0, 120).Draw(t, "age")) * time.Minute
				drawn++ // no two files are used at the same time
				file := &cachedFile{bytes: rapid.Int64Range(1, 500).Draw(t, "bytes"),
					used:   now.Add(-age - time.Duration(drawn)*time.Millisecond),
					stored: rapid.IntRange(0, 5).Draw(t, "stored") > 0, kept: rapid.IntRange(0, 5).Draw(t, "kept") == 0}
				key := fileKey{tenant, fmt.Sprint(i)}
				c.insert(tenant, key.name, file)
				if rapid.IntRange(0, 5).Draw(t, "pinned") == 0 {
					c.pins[key] = &pin{}
				}
				recent = recent || now.Sub(file.used) < recentUse
			}
			if recent {
				active++
			}
		}
		victims := c.victims(now)
		left, share := c.bytes, c.bound/max(active, 1)
		// Last use of a victim, and first use of a file that stays. The index is 1 for files that a share protects.
		var newest, oldest [2]time.Time
		for tenant, files := range c.files {
			var evictable []*cachedFile
			victim := map[*cachedFile]bool{}
			for name, file := range files {
				isVictim := victims[tenant][name]
				if file.stored && !file.kept && c.pins[fileKey{tenant, name}] == nil {
					evictable = append(evictable, file)
				} else if isVictim {
					t.Fatalf("%+v is a victim", file)
				}
				if victim[file] = isVictim; isVictim {
					left -= file.bytes
				}
			}
			slices.SortFunc(evictable, func(a, b *cachedFile) int { return b.used.Compare(a.used) })
			taken := int64(0)
			for _, file := range evictable {
				taken += file.bytes
				protected := 0
				if taken <= share && now.Sub(file.used) < recentUse {
					protected = 1
				}
				if victim[file] && file.used.After(newest[protected]) {
					newest[protected] = file.used
				} else if !victim[file] && (oldest[protected].IsZero() || file.used.Before(oldest[protected])) {
					oldest[protected] = file.used
				}
			}
		}
		if left > c.bound && (!oldest[0].IsZero() || !oldest[1].IsZero()) {
			t.Fatalf("%d bytes are left of a bound of %d, and another file could be evicted", left, c.bound)
		}
		if !newest[1].IsZero() && !oldest[0].IsZero() {
			t.Fatalf("a file within the share of %d bytes is a victim, and one that no share protects stays", share)
		}
		for i := range newest {
			if !newest[i].IsZero() && !oldest[i].IsZero() && newest[i].After(oldest[i]) {
				t.Fatal("a victim was used after a file that stays")
			}
		}
	})
}
