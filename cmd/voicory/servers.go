package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
)

// face is one address that the server answers on.
type endpoint struct {
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config // nil: none
	graceful bool        // a stop waits for its answers under way, and it bounds how long clients may take
	// connections bounds the open connections; nil: they are not bounded.
	connections *httpapi.Connections
}

// How long clients may take for a header, for a whole request, and to read their answer; and what a header may hold.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 2 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// serveAll serves every face until the context ends or one of them fails; then all stop. A face that finishes has stopTimeout
// for its answers under way; what the others do is broken off, since the operator's work goes on where it was when it is asked
// for again. When serveAll returns, no handler runs any more; watch ends the process if one does not end when it is cancelled.
func serveAll(ctx context.Context, log *slog.Logger, watch *stopWatch, stopTimeout time.Duration, endpoints ...endpoint) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	var handling sync.WaitGroup
	failed := make(chan error, len(endpoints))
	servers := make([]*http.Server, len(endpoints))
	for i, f := range endpoints {
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handling.Add(1)
				defer handling.Done()
				defer watch.hold("request " + r.Method + " " + requestGroup(r.URL.Path))()
				f.handler.ServeHTTP(w, r)
			}),
			BaseContext:       func(net.Listener) context.Context { return ctx },
			TLSConfig:         f.tls,
			ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			DisableGeneralOptionsHandler: true, // it would leave the headers of every answer out
			ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		}
		if f.graceful {
			server.BaseContext = func(net.Listener) context.Context { return answers }
			server.ReadTimeout, server.WriteTimeout = readTimeout, writeTimeout
			server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				if err := httpapi.CutStalled(conn, writeTimeout); err != nil {
					log.Warn("a client that stalls may stay for long", "error", err)
				}
				return f.connections.Opened(ctx, conn)
			}
			server.ConnState = f.connections.Changed
		}
		servers[i] = server
		go func() {
			if f.tls != nil {
				failed <- server.ServeTLS(f.listener, "", "")
			} else {
				failed <- server.Serve(f.listener)
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
			log.Warn("answers under way were cut off", "error", err)
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

// requestGroup returns the first three elements of a request's path. The others may hold ids, or a key.
func requestGroup(path string) string {
	elements := strings.SplitN(path, "/", 5)
	return strings.Join(elements[:min(len(elements), 4)], "/")
}

// certificate is a TLS configuration whose certificate is read anew for every client, so that it can be renewed in place.
// Files that do not fit each other, as while they are being replaced, leave the one before in use.
func reloadingTLSConfig(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	first, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: --tls-cert, --tls-key: %w", warehouse.ErrInvalid, err)
	}
	var mu sync.Mutex
	current := &first
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		fresh, err := tls.LoadX509KeyPair(certFile, keyFile)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			log.Error("the certificate cannot be read again; the one before is used", "error", err)
			return current, nil
		}
		current = &fresh
		return current, nil
	}}, nil
}

// watchHandler answers what watches the server: Prometheus, and whoever asks how it is.
func monitoringHandler(api http.Handler, registry *prometheus.Registry) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	routes.Handle("GET /healthz", api)
	routes.Handle("GET /readyz", httpapi.ForOperator(api))
	return routes
}
