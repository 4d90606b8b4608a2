package iceberg

import (
	"slices"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// A snapshot is the set of a table's files after one publication.
type snapshot struct {
	at     time.Time // of the publication
	parent int64     // identifier of the snapshot before; 0: it is not listed
	files  []warehouse.TableFile
}

// id returns the identifier of the snapshot, which is its sequence number, too.
func (s snapshot) id() int64 { return s.at.UnixMicro() }

// historyOf returns the snapshots of a table that can be read at the time now, oldest first. The last one is current.
// It returns none if nothing was ever published.
func historyOf(files []warehouse.TableFile, now time.Time) (snapshots []snapshot) {
	times := publications(files)
	for i, at := range times {
		current := i == len(times)-1
		if !current && !times[i+1].After(now.Add(-warehouse.TableKept)) {
			continue
		}
		s := snapshot{at: at, files: []warehouse.TableFile{}}
		for _, f := range files {
			if !f.PublishedAt.After(at) && (f.ReplacedAt.IsZero() || f.ReplacedAt.After(at)) {
				s.files = append(s.files, f)
			}
		}
		if slices.ContainsFunc(s.files, func(f warehouse.TableFile) bool { return f.Gone }) {
			continue
		}
		if n := len(snapshots); n > 0 {
			s.parent = snapshots[n-1].id()
		}
		snapshots = append(snapshots, s)
	}
	return snapshots
}

// publications returns the times of the publications that changed the table, in ascending order. A file that was
// replaced before the recorded history began has no part in it.
func publications(files []warehouse.TableFile) (times []time.Time) {
	for _, f := range files {
		if f.ReplacedAt.IsZero() {
			times = append(times, f.PublishedAt)
		} else if f.ReplacedAt.After(f.PublishedAt) {
			times = append(times, f.PublishedAt, f.ReplacedAt)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return slices.CompactFunc(times, time.Time.Equal)
}
