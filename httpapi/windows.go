package httpapi

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// windows let readers of Parquet ask for a file in parts, as they do, without each part counting against the limit of the key.
//
// The first request for a file counts as any other. It opens a window for this key and this file, in which further requests for the
// same file are free as long as they stay within what the window holds: twice the file's bytes, and 100 requests and one more for every
// 64 KiB of the file. What goes beyond counts again, and where it passes, opens a new window. So what a key can have for nothing is
// bounded by what it has paid for, however it asks, and only parts of files that it may read are free.
//
// Windows are this process's own. Where several servers share the limits of keys in Redis, a file whose parts are asked for at n of them
// is paid for at each, and has n windows.
type windows struct {
	length time.Duration
	now    func() time.Time

	mu      sync.Mutex
	open    map[windowOf]*window
	sweepAt time.Time
}

type windowOf struct {
	key  uuid.UUID
	file string
}

// window is what is left of one.
type window struct {
	until    time.Time
	size     int64  // of the file
	tag      string // its ETag
	bytes    int64
	requests int64
}

const (
	windowSizes    = 2   // times the file's bytes
	windowRequests = 100 // and one for every windowPart of the file
	windowPart     = 64 << 10
	// maxWindows bounds what is held, to some 20 MB: while there is no room, every request counts.
	maxWindows = 100_000
)

func newWindows(length time.Duration, now func() time.Time) *windows {
	return &windows{length: length, now: now, open: map[windowOf]*window{}}
}

// spend takes the request from an open window, if there is one that has enough left.
func (s *windows) spend(of windowOf, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.open[of]
	if !ok || !s.now().Before(w.until) {
		return false
	}
	cost := w.cost(r)
	if w.requests < 1 || w.bytes < cost {
		return false
	}
	w.requests--
	w.bytes -= cost
	return true
}

// begin opens a window, after a request that counted.
func (s *windows) begin(of windowOf, size int64, tag string) {
	if s.length <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !now.Before(s.sweepAt) {
		s.sweepAt = now.Add(s.length)
		for of, w := range s.open {
			if !now.Before(w.until) {
				delete(s.open, of)
			}
		}
	}
	if _, known := s.open[of]; !known && len(s.open) >= maxWindows {
		return
	}
	s.open[of] = &window{until: now.Add(s.length), size: size, tag: tag, bytes: windowSizes * size, requests: windowRequests + size/windowPart}
}

// cost returns the number of bytes that the answer has at most.
func (w *window) cost(r *http.Request) int64 {
	if r.Method == http.MethodHead {
		return 0
	}
	if condition := r.Header.Get("If-Range"); condition != "" && condition != w.tag {
		return w.size
	}
	_, bytes := rangesOf(r.Header.Get("Range"), w.size)
	return bytes
}

// limitedFile is limited for requests of a file.
func (a *api) limitedFile(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	if a.windows.spend(fileWindow(r, key), r) {
		return nil
	}
	exchangeOf(r).counted = true
	return a.limited(w, r, key)
}

// fileWindow is whose window a request for a file falls in.
func fileWindow(r *http.Request, key warehouse.Key) windowOf {
	_, name, _ := strings.Cut(r.URL.Path, "/files/") // of the database, "": no file has that name
	return windowOf{key.ID, name}
}
