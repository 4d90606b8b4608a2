package web

import (
	"context"
	"io"
	"time"
)

// Pace bounds how long the server waits for a client that sends or receives a long body: at most Per for each
// window of Bytes. Time in which the server itself is busy does not count. So a client may pause, and a client
// that is too slow is cut off after waiting for Per.
type Pace struct {
	Bytes int64
	Per   time.Duration

	moved  int64         // bytes in the current window
	waited time.Duration // time waited for the client in the current window
}

// Left returns the remaining time that the server waits for the client in the current window.
func (p *Pace) Left() time.Duration { return p.Per - p.waited }

// Move counts bytes, and the time that the server waited for the client.
func (p *Pace) Move(bytes int64, waited time.Duration) {
	p.moved += bytes
	p.waited += waited
	if p.moved >= p.Bytes {
		p.moved, p.waited = 0, 0
	}
}

// WriteGrace is the part of a write deadline that does not depend on the size of the response.
const WriteGrace = 2 * time.Minute

// responsePace returns the pace of responses that are sent while they are produced: 17 KB/s, with pauses of at most
// WriteGrace.
func responsePace() Pace { return Pace{Bytes: 2 << 20, Per: WriteGrace} }

// paceChunk is the size in bytes of the parts that a response is written in. The pace is checked for each part.
const paceChunk = 64 << 10

// PacedWriter writes a response to a client that must keep the pace.
type PacedWriter struct {
	*ResponseRecorder // its status has been sent
	ctx               context.Context
	pace              Pace
}

// NewPacedWriter returns a writer to rec for responses that are sent while they are produced.
func NewPacedWriter(ctx context.Context, rec *ResponseRecorder) *PacedWriter {
	return &PacedWriter{rec, ctx, responsePace()}
}

// ReadFrom copies src through Write. It hides the ReadFrom of the recorder, which does not check the pace.
func (w *PacedWriter) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// Write writes p in parts. The client must receive each part in the remaining time of the window.
func (w *PacedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), paceChunk)]
		start := time.Now()
		if err = w.Begin(w.ctx, w.pace.Left()); err != nil {
			return n, err
		}
		var sent int
		sent, err = w.ResponseRecorder.Write(part)
		w.pace.Move(int64(sent), time.Since(start))
		n, p = n+sent, p[sent:]
	}
	return n, err
}
