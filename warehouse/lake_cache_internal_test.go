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
		c := &lakeCache{files: map[uuid.UUID]map[string]*cachedFile{}, pins: map[fileKey]*pin{}}
		active, drawn := int64(0), 0
		for range rapid.SampledFrom([]int{1, 2, 3, 4}).Draw(t, "tenants") {
			tenant, recent := uuid.New(), false
			for i := range rapid.SampledFrom([]int{0, 1, 3, 8}).Draw(t, "files") {
				age := time.Duration(rapid.SampledFrom([]int{0, 10, 20, 40, 59, 60, 90}).Draw(t, "age")) * time.Minute
				drawn++ // no two files are used at the same time
				file := &cachedFile{bytes: rapid.SampledFrom([]int64{1, 20, 100, 500}).Draw(t, "bytes"),
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
		c.bound = max(1, c.bytes*rapid.SampledFrom([]int64{0, 20, 50, 80, 99, 100}).Draw(t, "percent")/100)
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

// TestLakeCache_Accounting draws the steps of evictions, fetches and statements. The bytes on the disk, in use and
// being fetched are those of a model. A file that is pinned, or not in the bucket, is never removed.
func TestLakeCache_Accounting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := &lakeCache{bound: 1000, files: map[uuid.UUID]map[string]*cachedFile{}, pins: map[fileKey]*pin{}}
		tenant := uuid.New()
		all := make([]PublishedFile, 4)
		for i := range all {
			all[i] = PublishedFile{Name: fmt.Sprint(i), Bytes: rapid.SampledFrom([]int64{1, 200, 500}).Draw(t, "bytes")}
		}
		type pinned struct {
			bytes int64 // in use
			users int
		}
		stored, pins := map[string]bool{}, map[string]pinned{} // the files on this disk, the pins
		reserved, loading := int64(0), int64(0)
		var releases []func() // of pins and reservations; they change the model
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			file := rapid.SampledFrom(all).Draw(t, "file")
			inBucket, exists := stored[file.Name]
			switch rapid.SampledFrom([]string{"publish", "fetch", "pin", "reserve", "release", "remove"}).Draw(t, "step") {
			case "publish":
				if !exists {
					stored[file.Name] = rapid.Bool().Draw(t, "stored")
					c.insert(tenant, file.Name, &cachedFile{bytes: file.Bytes, stored: stored[file.Name]})
				}
			case "fetch":
				stored[file.Name] = true
				c.add(tenant, file)
			case "pin":
				release, err := c.pin(tenant, []PublishedFile{file})
				if err != nil {
					continue
				}
				p := pins[file.Name]
				if p.users++; p.users == 1 && (inBucket || !exists) {
					p.bytes = file.Bytes
				}
				pins[file.Name] = p
				releases = append(releases, func() {
					release()
					release() // has no effect
					p := pins[file.Name]
					if p.users--; p.users == 0 {
						delete(pins, file.Name)
						return
					}
					pins[file.Name] = p
				})
			case "reserve":
				release, err := c.reserve(tenant, file)
				if err != nil {
					continue
				}
				bytes := file.Bytes
				if pins[file.Name].users > 0 {
					bytes = 0
				}
				reserved, loading = reserved+bytes, loading+file.Bytes
				releases = append(releases, func() {
					release()
					reserved, loading = reserved-bytes, loading-file.Bytes
				})
			case "release":
				if n := len(releases); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "of")
					releases[i]()
					releases = slices.Delete(releases, i, i+1)
				}
			case "remove":
				removed := false
				if err := c.remove(tenant, file.Name, func() error { removed = true; return nil }); err != nil {
					t.Fatal(err)
				}
				if want := inBucket && pins[file.Name].users == 0; removed != want {
					t.Fatalf("file removed: %t, want %t", removed, want)
				}
				if removed {
					delete(stored, file.Name)
				}
			}
			onDisk, inUse := int64(0), reserved
			for _, file := range all {
				if _, exists := stored[file.Name]; exists {
					onDisk += file.Bytes
				}
				inUse += pins[file.Name].bytes
			}
			if c.bytes != onDisk || c.inUse != inUse || c.loading != loading || c.inUse > c.bound {
				t.Fatalf("got %d bytes, %d in use, %d being fetched, want %d, %d and %d", c.bytes, c.inUse, c.loading, onDisk,
					inUse, loading)
			}
		}
	})
}
