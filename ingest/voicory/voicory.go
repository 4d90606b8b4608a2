package voicory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzhttp"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// DefaultWindow is for how long costs, transcripts and statuses are expected to be written after a row was created.
const DefaultWindow = 72 * time.Hour

// Options say what is pulled, and from where.
type Options struct {
	BaseURL  string         // of the API, ending in /api/v1
	APIKey   string         // of the tenant's account; kept out of errors, logs and states
	Tenant   uuid.UUID      // whose rows these are here
	Window   time.Duration  // before the newest row of the last pass that each pass reads again; 0: nothing is
	Details  bool           // ask for stt_minutes and tts_characters, one request a call
	Client   *http.Client   // nil: one that is closed after each pull
	Progress func(Progress) // told after each portion that was taken; may be nil
	Log      *slog.Logger   // nil: slog's default
}

// Progress says how far a pull is.
type Progress struct {
	Rows  int64         // taken by this pull; a row that was read twice counts twice
	Total int64         // with those that are still to be read, as the API counts now
	Left  time.Duration // that the rest will take, at the pace that the limits allow, or that the API had of late if it is slower
}

// Source pulls the rows of one tenant from the Voicory API. It serves one Pull at a time.
type Source struct {
	Options
	client    *client
	closeIdle func()           // closes the connections that are not given
	prints    map[string]print // calls of the window whose details are known
}

var _ ingest.Source = (*Source)(nil)

// New checks the options; what cannot be is ErrInvalid.
func New(o Options) (*Source, error) {
	base, err := url.Parse(strings.TrimRight(o.BaseURL, "/"))
	switch {
	case err != nil, base.Scheme != "https" && base.Scheme != "http", base.Host == "", base.User != nil, base.RawQuery != "", base.Fragment != "",
		!strings.HasSuffix(base.Path, "/api/v1"):
		return nil, fmt.Errorf("%w: the base URL is not one like https://host/api/v1", warehouse.ErrInvalid)
	case len(o.APIKey) < 10, len(o.APIKey) > 128, strings.ContainsFunc(o.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("%w: the API key is not one: they have 10 to 128 characters, after pk_ or sk_", warehouse.ErrInvalid)
	case o.Tenant == uuid.Nil:
		return nil, fmt.Errorf("%w: the tenant whose rows are pulled is not given", warehouse.ErrInvalid)
	case o.Window < 0:
		return nil, fmt.Errorf("%w: the window %s is less than nothing", warehouse.ErrInvalid, o.Window)
	}
	o.Log = cmp.Or(o.Log, slog.Default())
	own, closeIdle := http.Client{}, func() {}
	if o.Client != nil {
		own = *o.Client
	} else {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = attemptTimeout / 2
		own.Transport = gzhttp.Transport(transport) // it takes zstd where there is any, and unpacks gzip in half the time
		closeIdle = transport.CloseIdleConnections
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the key is for no other host
	return &Source{
		Options:   o,
		client:    &client{base: base.String(), key: o.APIKey, http: &own, limiter: newLimiter(), log: o.Log},
		closeIdle: closeIdle,
		prints:    map[string]print{},
	}, nil
}

// Name is the same for the same account of the same API, whatever its key.
func (s *Source) Name() string {
	return "voicory " + s.client.base + " " + s.Tenant.String()
}

// Pull reads until a pass found everything, and everything that takes long (details, customers anew) is done. Beyond the kinds of
// take, its errors are ErrInvalid, for whoever set the source up, and ErrUpstream.
func (s *Source) Pull(ctx context.Context, known json.RawMessage, take func(context.Context, ingest.Portion) error) error {
	p := &pull{Source: s, queue: newQueue(), left: map[string]int64{}, noted: map[string]print{}}
	if err := p.restore(known); err != nil {
		return err
	}
	defer s.closeIdle()
	pulling, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(pulling, p.queue.wake)()
	failed := make(chan error, 1)
	go func() {
		err := p.run(pulling)
		p.queue.close()
		failed <- err
	}()
	takeErr := p.queue.drain(pulling, func(b *batch) error {
		if err := take(ctx, b.portion(s.Tenant)); err != nil {
			return err
		}
		if b.progress != nil && s.Progress != nil {
			s.Progress(*b.progress)
		}
		return nil
	})
	stop()
	err := <-failed
	if takeErr != nil || err != nil {
		clear(s.prints) // some may be of details that were not taken
	}
	switch {
	case takeErr != nil:
		return takeErr
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
