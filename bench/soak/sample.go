package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A sample is the state of the server at one time. Sizes are in bytes.
type sample struct {
	at       time.Duration // since the start of the load
	requests int           // sent since the start of the load

	rss, duckdb, goMemory float64 // memory of the process; the part of DuckDB's limit; the part of the Go runtime
	malloc                float64 // memory that C code has allocated and not freed, without DuckDB's buffers
	spilled               float64 // in temporary files of DuckDB
	files, threads        int     // open file descriptors, threads
	goroutines            int
	written               float64 // to files, since the start of the process
	cpu                   time.Duration

	folders map[string]float64 // size of each entry of the data folder
	wals    float64            // logs of the tenants' databases
	control float64            // control database and its log
}

// other returns the memory that is neither in DuckDB's limit nor managed by the Go runtime: malloc'd memory, code,
// stacks of C, and pages that the allocators keep.
func (s sample) other() float64 { return s.rss - s.duckdb - s.goMemory }

// disk returns the size of the data folder.
func (s sample) disk() (bytes float64) {
	for _, size := range s.folders {
		bytes += size
	}
	return bytes
}

// A sampler samples a server.
type sampler struct {
	server  *server
	load    *load
	samples []sample
	missing []error // errors of the samples that could not be taken
}

func newSampler(s *server, l *load) *sampler { return &sampler{server: s, load: l} }

// The time between two samples: sampled times in a run, but not more often than minSampleEvery.
const (
	sampled        = 180
	minSampleEvery = time.Second
)

// maxMissing is the part of samples that may be missing. On a busy machine, a scrape can take too long.
const maxMissing = 0.1

// during takes samples while work runs, one before it and one after it.
func (s *sampler) during(ctx context.Context, length time.Duration, work func(context.Context)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	if err := s.take(ctx, start); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		work(ctx)
		close(done)
	}()
	defer func() { <-done }()
	defer cancel()
	every := time.NewTicker(max(length/sampled, minSampleEvery))
	defer every.Stop()
	for {
		select {
		case <-done:
			if err := s.take(ctx, start); err != nil {
				return err
			}
			if len(s.missing) > int(maxMissing*float64(len(s.samples))) {
				return fmt.Errorf("%d samples are missing: %w", len(s.missing), s.missing[0])
			}
			return ctx.Err()
		case <-s.server.ended:
			return s.server.endError()
		case <-every.C:
			if err := s.take(ctx, start); err != nil {
				s.missing = append(s.missing, err)
			}
		}
	}
}

// take takes a sample.
func (s *sampler) take(ctx context.Context, start time.Time) error {
	one := sample{at: time.Since(start), requests: s.load.total(), folders: map[string]float64{}}
	pid := s.server.command.Process.Pid
	err := errors.Join(one.readMetrics(ctx, s.server), one.readProcess(pid), one.readFolder(s.server.data))
	if err == nil {
		s.samples = append(s.samples, one)
	}
	return err
}

// readMetrics reads the metrics of the server.
func (s *sample) readMetrics(ctx context.Context, server *server) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://voicory/metrics", nil)
	if err != nil {
		return err
	}
	response, err := server.operator.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	metrics, err := sumMetrics(response.Body)
	if err != nil {
		return err
	}
	s.duckdb, s.spilled = metrics["voicory_duckdb_memory_bytes"], metrics["voicory_duckdb_spilled_bytes"]
	s.goMemory = metrics["go_memstats_sys_bytes"] - metrics["go_memstats_heap_released_bytes"]
	s.malloc, s.goroutines = metrics["voicory_malloc_bytes"], int(metrics["go_goroutines"])
	if s.duckdb == 0 || s.malloc == 0 || s.goroutines == 0 {
		return errors.New("the metrics of memory or goroutines are missing")
	}
	return nil
}

// sumMetrics returns the sum of all series of each metric in the text format of Prometheus.
func sumMetrics(text io.Reader) (map[string]float64, error) {
	sums := map[string]float64{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		end := strings.LastIndexByte(lines.Text(), ' ')
		if strings.HasPrefix(lines.Text(), "#") || end < 0 {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %w", err)
		}
		name, _, _ := strings.Cut(lines.Text()[:end], "{")
		sums[name] += value
	}
	return sums, lines.Err()
}

// readProcess reads the figures of the kernel.
func (s *sample) readProcess(pid int) (err error) {
	status, err := procValues(pid, "status")
	if err != nil {
		return err
	}
	s.rss, s.threads = 1024*status["VmRSS"], int(status["Threads"]) // VmRSS is in KiB
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	s.files = len(files)
	io, err := procValues(pid, "io")
	if err != nil {
		return err
	}
	s.written = io["write_bytes"]
	s.cpu, err = cpuTime(pid)
	return err
}

// procValues reads a file of /proc with lines of names and numbers.
func procValues(pid int, file string) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			if number, err := strconv.ParseFloat(fields[0], 64); err == nil {
				values[name] = number
			}
		}
	}
	return values, nil
}

// clockTick is the unit of CPU times in /proc on all architectures that Go supports.
const clockTick = 10 * time.Millisecond

// cpuTime returns the CPU time of a process and of its child processes that have ended.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	const utime, stime, cutime, cstime = 11, 12, 13, 14 // fields behind the name of the program
	ticks := 0
	for _, i := range []int{utime, stime, cutime, cstime} {
		n, err := strconv.Atoi(strings.Fields(rest)[i])
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of a process: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// readFolder reads the sizes of the files of the data folder. Hard links count once, in the folder that is read first.
func (s *sample) readFolder(data string) error {
	seen := map[uint64]bool{}
	return filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		inode, size := fileUse(info)
		if seen[inode] {
			return nil
		}
		seen[inode] = true
		name, _ := filepath.Rel(data, path) // both are absolute
		folder, _, _ := strings.Cut(name, string(filepath.Separator))
		s.folders[folder] += size
		switch {
		case folder == "warehouse" && strings.HasSuffix(name, ".wal"):
			s.wals += size
		case strings.HasPrefix(name, "control.duckdb"):
			s.control += size
		}
		return nil
	})
}

// fileUse returns the inode of a file and the bytes that it occupies on the disk.
func fileUse(info fs.FileInfo) (inode uint64, bytes float64) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, float64(info.Size())
	}
	const block = 512 // unit of Blocks, whatever the block size of the file system
	return stat.Ino, float64(stat.Blocks * block)
}
