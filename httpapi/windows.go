package httpapi

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// windows are the allowances for range requests, per key and file. Parquet readers request a file in many ranges,
// which would use up the rate limit of the key.
//
// The first request for a file counts against the rate limit. It opens a window for this key and this file.
// Requests for the same file within the window are free until its allowance is used up: twice the bytes of the
// file, and 100 requests plus one for every 64 KiB of the file. The next request counts again, and, if it
// succeeds, opens a new window. So the free traffic of a key is bounded by its counted requests, and only files
// that the key may read have windows.
//
// The windows are in the memory of this process. If several servers share rate limits in Redis, each server opens
// its own window for a file and counts a request for it.
type windows struct {
	length time.Duration
	now    func() time.Time

	mu      sync.Mutex // guards the fields below
	open    map[windowOf]*window
	sweepAt time.Time // when begin next removes the expired windows
}

// windowOf identifies a window.
type windowOf struct {
	key  uuid.UUID
	file string
}

// window is an open allowance.
type window struct {
	until    time.Time
	size     int64  // bytes of the file
	tag      string // ETag of the file
	bytes    int64  // remaining
	requests int64  // remaining
}

const (
	windowSizes    = 2   // allowance in bytes: multiple of the file size
	windowRequests = 100 // plus one for every windowPart bytes of the file
	windowPart     = 64 << 10
	// maxWindows bounds the memory of the windows to about 20 MB. At this number no window is opened, so every
	// request counts.
	maxWindows = 100_000
)

func newWindows(length time.Duration, now func() time.Time) *windows {
	return &windows{length: length, now: now, open: map[windowOf]*window{}}
}

// spend reports whether the request is covered by an open window, and deducts it from the allowance.
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

// begin opens a window after a request that was counted.
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
	s.open[of] = &window{until: now.Add(s.length), size: size, tag: tag,
		bytes: windowSizes * size, requests: windowRequests + size/windowPart}
}

// cost returns the maximum number of bytes of the response.
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

// limitedFile applies the rate limits as [api.limited] does, except to requests that an open window covers.
func (a *api) limitedFile(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	if a.windows.spend(fileWindow(r, key), r) {
		return nil
	}
	exchangeOf(r).counted = true
	return a.limited(w, r, key)
}

// fileWindow returns the window that a request for a file belongs to.
func fileWindow(r *http.Request, key warehouse.Key) windowOf {
	_, name, _ := strings.Cut(r.URL.Path, "/files/") // "" for the database, because no file has an empty name
	return windowOf{key.ID, name}
}
