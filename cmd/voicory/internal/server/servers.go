package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/voicory/warehouse/httpapi"
)

// endpoint is a listener with the handler that serves its requests.
type endpoint struct {
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config // nil: no TLS
	graceful bool        // drain requests in flight on shutdown and apply client timeouts
	// connections bounds the open connections. If it is nil, they are unbounded.
	connections *httpapi.Connections
}

// Limits of a client connection.
const (
	headerTimeout = 10 * time.Second // to send the header
	readTimeout   = 30 * time.Second // to send the whole request
	writeTimeout  = 2 * time.Minute  // to read the response
	idleTimeout   = 2 * time.Minute  // between two requests
	maxHeader     = 64 << 10         // bytes of a request header
)

// serveAll serves all endpoints until ctx is done or one of them fails. Then it shuts all of them down.
//
// Requests of a graceful endpoint have stopTimeout to finish before they are cancelled. Requests of other endpoints are
// cancelled at once: commands of the operator resume when they are run again. When serveAll returns, no handler is
// running. watch ends the process if a handler ignores its cancellation.
func serveAll(
	ctx context.Context, log *slog.Logger, watch *stopWatch, stopTimeout time.Duration, endpoints ...endpoint,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	var handling sync.WaitGroup
	failed := make(chan error, len(endpoints))
	servers := make([]*http.Server, len(endpoints))
	for i, e := range endpoints {
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handling.Add(1)
				defer handling.Done()
				defer watch.hold("request " + r.Method + " " + requestGroup(r.URL.Path))()
				e.handler.ServeHTTP(w, r)
			}),
			BaseContext:       func(net.Listener) context.Context { return ctx },
			TLSConfig:         e.tls,
			ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			DisableGeneralOptionsHandler: true, // it would omit the headers that every response has
			ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		}
		if e.graceful {
			server.BaseContext = func(net.Listener) context.Context { return answers }
			server.ReadTimeout, server.WriteTimeout = readTimeout, writeTimeout
			server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				if err := httpapi.CutStalled(conn, writeTimeout); err != nil {
					log.Warn("cannot set TCP_USER_TIMEOUT; stalled clients keep their connection longer", "error", err)
				}
				return e.connections.Opened(ctx, conn)
			}
			server.ConnState = e.connections.Changed
		}
		servers[i] = server
		go func() {
			if e.tls != nil {
				failed <- server.ServeTLS(e.listener, "", "")
			} else {
				failed <- server.Serve(httpapi.RawErrors(e.listener))
			}
		}()
	}

	var errs []error
	ended := 0
	select {
	case <-ctx.Done():
	case err := <-failed:
		ended++
		errs = append(errs, err)
	}
	log.Info("stopping")
	cancel()
	stop, done := context.WithTimeout(answers, stopTimeout)
	defer done()
	for _, server := range servers {
		if err := server.Shutdown(stop); err != nil {
			log.Warn("requests in flight were cancelled", "error", err)
			errs = append(errs, server.Close())
		}
	}
	abort()
	for ; ended < len(servers); ended++ {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	handling.Wait()
	return errors.Join(errs...)
}

// requestGroup returns the first three elements of a path. Further elements may be ids or a key, which are not logged.
func requestGroup(path string) string {
	elements := strings.SplitN(path, "/", 5)
	return strings.Join(elements[:min(len(elements), 4)], "/")
}
