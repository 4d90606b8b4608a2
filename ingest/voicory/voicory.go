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

// DefaultWindow is the time after the creation of a row during which costs, transcripts and statuses may still be
// written.
const DefaultWindow = 72 * time.Hour

// Options configure a Source.
type Options struct {
	BaseURL  string         // URL of the API, ending in /api/v1
	APIKey   string         // key of the tenant's account; never part of errors, logs or states
	Tenant   uuid.UUID      // tenant that owns the rows in the warehouse
	Window   time.Duration  // time before the end of the last pass that each pass reads again; 0: none
	Details  bool           // fetch stt_minutes and tts_characters, one request per call
	Client   *http.Client   // nil: a client whose connections are closed after each pull
	Progress func(Progress) // called after each stored portion; may be nil
	Log      *slog.Logger   // nil: slog.Default
}

// Progress is the progress of a pull.
type Progress struct {
	Rows  int64         // rows stored by this pull; a row that was read twice counts twice
	Total int64         // Rows plus the rows still to be read, as the API counts them now
	Left  time.Duration // estimated time for the rest, by the rate limits or the recent speed of the API, if that is lower
}

// A Source pulls the rows of one tenant from the Voicory API. It must not run two pulls at the same time.
type Source struct {
	Options
	client       *client
	closeIdle    func()                 // closes idle connections of the default client
	fingerprints map[string]fingerprint // calls of the window whose details have been read, by id
}

var _ ingest.Source = (*Source)(nil)

// New returns a Source. It returns ErrInvalid if an option is missing or invalid.
func New(o Options) (*Source, error) {
	base, err := url.Parse(strings.TrimRight(o.BaseURL, "/"))
	switch {
	case err != nil, base.Scheme != "https" && base.Scheme != "http", base.Host == "", base.User != nil,
		base.RawQuery != "", base.Fragment != "", !strings.HasSuffix(base.Path, "/api/v1"):
		return nil, fmt.Errorf("%w: invalid base URL (example: https://host/api/v1)", warehouse.ErrInvalid)
	case len(o.APIKey) < 10, len(o.APIKey) > 128,
		strings.ContainsFunc(o.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("%w: invalid API key: want 10 to 128 ASCII characters without spaces",
			warehouse.ErrInvalid)
	case o.Tenant == uuid.Nil:
		return nil, fmt.Errorf("%w: no tenant given", warehouse.ErrInvalid)
	case o.Window < 0:
		return nil, fmt.Errorf("%w: the window %s is negative", warehouse.ErrInvalid, o.Window)
	}
	o.Log = cmp.Or(o.Log, slog.Default())
	own, closeIdle := http.Client{}, func() {}
	if o.Client != nil {
		own = *o.Client
	} else {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = attemptTimeout / 2
		own.Transport = gzhttp.Transport(transport) // accepts zstd, and decodes gzip in half the time
		closeIdle = transport.CloseIdleConnections
	}
	// Redirects are not followed, because the key must not be sent to another host.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Source{
		Options:      o,
		client:       &client{base: base.String(), key: o.APIKey, http: &own, limiter: newLimiter(), log: o.Log},
		closeIdle:    closeIdle,
		fingerprints: map[string]fingerprint{},
	}, nil
}

// Name returns the name under which the state is stored. It depends on the base URL and the tenant, not on the key.
func (s *Source) Name() string {
	return "voicory " + s.client.base + " " + s.Tenant.String()
}

// Pull reads all new rows and completes the background work: details, and customers that are due to be read again. It
// calls take with each portion, in order, and returns its error. It returns ErrInvalid if the configuration or the
// stored state is wrong, and ErrUpstream if the API or the network fails for longer than a request is retried.
func (s *Source) Pull(
	ctx context.Context, known json.RawMessage, take func(context.Context, ingest.Portion) error,
) error {
	p := &pull{
		Source: s, queue: newBatchQueue(), remaining: map[string]int64{}, pendingFingerprints: map[string]fingerprint{},
	}
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
	takeErr := p.queue.forEach(pulling, func(b *batch) error {
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
		clear(s.fingerprints) // details of some of these calls may not have been stored
	}
	switch {
	case takeErr != nil:
		return takeErr
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
