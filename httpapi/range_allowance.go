package httpapi

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

// rangeAllowances holds the allowances for range requests, per key and file. Parquet readers request a file in many
// ranges, which would use up the rate limit of the key.
//
// The first request for a file counts against the rate limit. It opens an allowance for this key and this file, for
// a window of time. Requests for the same file are free until the window ends or the allowance is used up: twice the
// bytes of the file, and 100 requests plus one for every 64 KiB of the file. The next request counts again, and, if
// it succeeds, opens a new allowance. So the free traffic of a key is bounded by its counted requests, and only
// files that the key may read have allowances.
//
// The catalog of tables, with the sharing server, and each table have an allowance, too. That of a table is the sum of
// those of its files, with two more for its metadata. So a scan of a table counts as one request. Each file counts as
// 256 KiB larger there: readers fetch blocks, and so read a small file as a whole whenever they need a part of it.
//
// The allowances are in the memory of this process. If several servers share rate limits in Redis, each server opens
// its own allowance for a file and counts a request for it.
type rangeAllowances struct {
	length time.Duration
	now    func() time.Time

	mu      sync.Mutex // guards the fields below
	byKey   map[allowanceKey]*rangeAllowance
	sweepAt time.Time // when open next removes expired allowances
}

// allowanceKey identifies an allowance.
type allowanceKey struct {
	key  uuid.UUID
	file string // name of a file, or "/" with the name of a table; "": the database
}

// rangeAllowance is the rest of an allowance.
type rangeAllowance struct {
	until    time.Time
	size     int64  // bytes of the file
	tag      string // ETag of the file
	bytes    int64  // remaining
	requests int64  // remaining
}

const (
	allowedSizes    = 2   // allowance in bytes: multiple of the file size
	allowedRequests = 100 // for each file, plus one for every bytesPerRequest bytes of the file
	bytesPerRequest = 64 << 10
	smallFile       = 256 << 10 // bytes added to the size of each file of a table
	// maxAllowances bounds the memory of the allowances to about 20 MB. At this number none is opened, so every
	// request counts.
	maxAllowances = 100_000
)

func newRangeAllowances(length time.Duration, now func() time.Time) *rangeAllowances {
	return &rangeAllowances{length: length, now: now, byKey: map[allowanceKey]*rangeAllowance{}}
}

// spend reports whether the request is covered by an allowance, and deducts it.
func (s *rangeAllowances) spend(of allowanceKey, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.byKey[of]
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

// spendRequest reports whether a request is covered by an allowance, and deducts it without its bytes, which are not
// known yet. The caller deducts them with charge.
func (s *rangeAllowances) spendRequest(of allowanceKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.byKey[of]
	if !ok || !s.now().Before(w.until) || w.requests < 1 || w.bytes < 0 {
		return false
	}
	w.requests--
	return true
}

// charge deducts the bytes of a response from an allowance. The rest may become negative, by one response.
func (s *rangeAllowances) charge(of allowanceKey, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.byKey[of]; ok {
		w.bytes -= bytes
	}
}

// open opens an allowance for a number of files of size bytes in total, after a request that was counted.
func (s *rangeAllowances) open(of allowanceKey, size, files int64, tag string) {
	if s.length <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !now.Before(s.sweepAt) {
		s.sweepAt = now.Add(s.length)
		for of, w := range s.byKey {
			if !now.Before(w.until) {
				delete(s.byKey, of)
			}
		}
	}
	if _, known := s.byKey[of]; !known && len(s.byKey) >= maxAllowances {
		return
	}
	s.byKey[of] = &rangeAllowance{until: now.Add(s.length), size: size, tag: tag,
		bytes: allowedSizes * size, requests: allowedRequests*files + size/bytesPerRequest}
}

// cost returns the maximum number of bytes of the response.
func (w *rangeAllowance) cost(r *http.Request) int64 {
	if r.Method == http.MethodHead {
		return 0
	}
	if condition := r.Header.Get("If-Range"); condition != "" && condition != w.tag {
		return w.size
	}
	_, bytes := web.Ranges(r.Header.Get("Range"), w.size)
	return bytes
}

// limitFileRequest applies the rate limits as [api.limitRequest] does, except to requests that an allowance covers.
func (a *api) limitFileRequest(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if a.allowances.spend(fileAllowance(r, key), r) {
		return nil
	}
	stateOf(r).counted = true
	return a.limitRequest(w, r, key)
}

// fileAllowance returns the key of the allowance that a request for a file belongs to.
func fileAllowance(r *http.Request, key control.Key) allowanceKey {
	_, name, _ := strings.Cut(r.URL.Path, "/files/") // "" for the database, because no file has an empty name
	return allowanceKey{key.ID, name}
}
