package warehouse

import (
	"context"
	"io"
	"time"
)

// A pacer limits the rate of reads. The zero value has no limit.
type pacer struct {
	rate  int64 // bytes per second; 0: no limit
	bytes int64
	begun time.Time
}

// wait counts bytes that were read. If the bytes exceed the rate since the first call, it waits until they do not.
func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.rate == 0 {
		return ctx.Err()
	}
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	p.bytes += int64(bytes)
	ahead := time.Duration(float64(p.bytes)/float64(p.rate)*float64(time.Second)) - time.Since(p.begun)
	if ahead <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(ahead):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// A pacedReader reads at the rate of a pacer.
type pacedReader struct {
	ctx  context.Context
	in   io.Reader
	pace *pacer
}

func (r pacedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if paced := r.pace.wait(r.ctx, n); paced != nil && err == nil {
		err = paced
	}
	return n, err
}
