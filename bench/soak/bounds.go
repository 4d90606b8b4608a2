package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	mb = 1e6
	kb = 1e3
)

// The bounds. docs/operating.md has the same numbers where an operator plans with them.
const (
	// memoryBeyondLimit is the memory of the process beyond --memory-limit: the program, the Go runtime, and memory that
	// the allocators have not returned.
	memoryBeyondLimit = 350 * mb
	// growthPerRequest bounds the growth of malloc'd memory in the second half. A leak of one small object per request
	// exceeds it.
	growthPerRequest = 0.2 * kb
	// growthNoise is the growth that a run of any length may have. Between two purges, DuckDB's eviction queues grow by
	// 4,096 entries each (see warmUpRequests), which is 7 MB.
	growthNoise = 8 * mb
	// warmUpRequests is the number of requests in which this memory grows without a leak. Growth in it has no bound, so
	// the second half must begin later. DuckDB's BufferPool has 8 eviction queues. They keep a weak pointer to each buffer
	// that was unpinned, also after it was freed, and with the pointer the memory of its handle, some 200 bytes. A queue
	// is purged only from 8,192 x 4 entries on, after each 4,096 new ones (EvictionQueue::Purge). So it keeps at most
	// 36,864 of them, which take 8 MB, and all queues take 60 MB. A push makes some 30 entries, and a page fewer.
	warmUpRequests = 15_000
	// attachedTenants is the number of tenants that the server keeps attached. Each has a file, a log, and a goroutine
	// that opens connections.
	attachedTenants = 256
	// filesBeyond, goroutinesBeyond and threadsBeyond are the numbers that do not depend on the tenants.
	filesBeyond, goroutinesBeyond, maxThreads = 150, 150, 64
	// controlBase and controlPerRequest bound control.duckdb with its log: the request log has an entry per request.
	controlBase, controlPerRequest = 32 * mb, 1 * kb
	// storePerTenant bounds the store of a tenant: about 15 columns of blocks in each table.
	storePerTenant = 4 * mb
	// keptFiles bounds replaced files of the lake and databases that are kept for readers.
	keptFiles = 1 << 30
	// filesPerTenant bounds the published files of a tenant.
	filesPerTenant = 1 * mb
	// maxStop bounds the time that a stop takes: the default of --stop-timeout.
	maxStop = 30 * time.Second
	// maxBusy is the part of requests that may still be answered with 429 or 503 after several attempts.
	maxBusy = 0.01
)

// A bound is a figure of a run and its limit.
type bound struct {
	name          string
	figure, limit float64
	format        func(float64) string
}

func (b bound) met() bool { return b.figure <= b.limit }

// newBounds returns the bounds of a run with its figures. memory is --memory-limit in bytes.
func newBounds(samples []sample, memory float64, tenants int, l *load, stopped time.Duration) []bound {
	highest := func(of func(sample) float64) float64 {
		figure := math.Inf(-1)
		for _, s := range samples {
			figure = max(figure, of(s))
		}
		return figure
	}
	n := float64(tenants)
	attached := min(n, attachedTenants)
	requests := float64(samples[len(samples)-1].requests)
	bounds := []bound{
		{"resident memory", highest(func(s sample) float64 { return s.rss }), memory + memoryBeyondLimit, megabytes},
		{"spilled by DuckDB", highest(func(s sample) float64 { return s.spilled }), 0, megabytes},
		{"open files", highest(func(s sample) float64 { return float64(s.files) }), 2*attached + filesBeyond, count},
		{"goroutines", highest(func(s sample) float64 { return float64(s.goroutines) }), attached + goroutinesBeyond, count},
		{"threads", highest(func(s sample) float64 { return float64(s.threads) }), maxThreads, count},
		{"logs of all tenants", highest(func(s sample) float64 { return s.wals }), memory / 4, megabytes},
		{"control database", highest(func(s sample) float64 { return s.control }),
			controlBase + controlPerRequest*requests, megabytes},
		{"stores of all tenants", highest(func(s sample) float64 { return s.folders["warehouse"] }),
			storePerTenant * n, megabytes},
		{"published files, replaced ones included",
			highest(func(s sample) float64 { return s.folders["lake"] + s.folders["published"] + s.folders["tmp"] }),
			filesPerTenant*n + keptFiles, megabytes},
		{"time to stop", stopped.Seconds(), maxStop.Seconds(), seconds},
		{"wrong answers", float64(l.failed), 0, count},
		{"requests refused as busy in all attempts", float64(l.busy), maxBusy * requests, count},
	}
	if samples[len(samples)/2].requests >= warmUpRequests {
		growth, during := growth(samples)
		bounds = append(bounds, bound{"growth of malloc'd memory in the second half", growth,
			max(growthNoise, growthPerRequest*during), megabytes})
	}
	return bounds
}

// growth returns the growth of malloc'd memory in the second half of the samples, and the number of requests in that
// time. The growth is that of a line by the method of Theil and Sen, which single peaks do not move.
func growth(samples []sample) (bytes, requests float64) {
	half := samples[len(samples)/2:]
	var slopes []float64
	for i, a := range half {
		for _, b := range half[i+1:] {
			if b.requests > a.requests {
				slopes = append(slopes, (b.malloc-a.malloc)/float64(b.requests-a.requests))
			}
		}
	}
	if len(slopes) == 0 {
		return 0, 0
	}
	slices.Sort(slopes)
	requests = float64(half[len(half)-1].requests - half[0].requests)
	return slopes[len(slopes)/2] * requests, requests
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/mb) }
func count(n float64) string         { return fmt.Sprintf("%.0f", n) }
func seconds(s float64) string       { return fmt.Sprintf("%.1f s", s) }
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
