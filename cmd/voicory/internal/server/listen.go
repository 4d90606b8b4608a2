package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
)

// listen opens the listeners of the server and returns their endpoints, that of the public API first. If it returns an
// error, it has closed all listeners.
func (o Options) listen(
	ctx context.Context, l *admin.Local, api httpapi.Options, registry *prometheus.Registry,
) (endpoints []endpoint, err error) {
	defer func() {
		if err != nil {
			for _, endpoint := range endpoints {
				err = errors.Join(err, endpoint.listener.Close())
			}
		}
	}()
	public := endpoint{
		handler: httpapi.New(api), graceful: true, connections: httpapi.NewConnections(api.TrustedProxies),
	}
	if o.TLSCert != "" {
		if public.tls, err = reloadingTLSConfig(o.TLSCert, o.TLSKey, o.Log); err != nil {
			return nil, err
		}
	}
	if public.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	endpoints = append(endpoints, public)
	l.Address = address(public)
	socket := endpoint{handler: operatorHandler(l, registry, o.Log)}
	if socket.listener, err = admin.Listen(ctx, warehouse.SocketPath(l.Warehouse.Dir())); err != nil {
		return endpoints, err
	}
	endpoints = append(endpoints, socket)
	if o.OperatorListen != "" {
		watched := endpoint{handler: monitoringHandler(public.handler, registry)}
		if watched.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.OperatorListen); err != nil {
			return endpoints, fmt.Errorf("listen for monitoring: %w; choose another address with --operator-listen", err)
		}
		endpoints = append(endpoints, watched)
	}
	if o.TablesListen != "" {
		tables := endpoint{graceful: true, connections: httpapi.NewConnections(api.TrustedProxies), tls: public.tls}
		token, err := o.tablesToken()
		if err != nil {
			return endpoints, err
		}
		if tables.handler, err = httpapi.NewOperatorTables(api, l.Warehouse, token); err != nil {
			return endpoints, err
		}
		if tables.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.TablesListen); err != nil {
			return endpoints, fmt.Errorf("listen for tables: %w; choose another address with --tables-listen", err)
		}
		o.Log.Info("serving tables of all tenants", "address", tables.listener.Addr().String())
		endpoints = append(endpoints, tables)
	}
	return endpoints, nil
}

// address returns the URL of an endpoint. A server that listens on all addresses is reached at localhost, too.
func address(public endpoint) string {
	scheme, at := "http", public.listener.Addr().(*net.TCPAddr)
	if public.tls != nil {
		scheme = "https"
	}
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// tablesTokenVariable is the environment variable with the token for the tables of all tenants.
const tablesTokenVariable = "VOICORY_TABLES_TOKEN"

// tablesToken returns the token for the tables of all tenants.
func (o Options) tablesToken() (string, error) {
	from := secret{File: o.TablesToken}
	if o.TablesToken == "" {
		from.Env = tablesTokenVariable
	}
	token, err := from.read()
	if err != nil {
		return "", fmt.Errorf("token for the tables of all tenants (--tables-token-file or $%s): %w", tablesTokenVariable,
			err)
	}
	return token, nil
}

// operatorHandler serves the operations of the operator, and /metrics.
func operatorHandler(l *admin.Local, registry *prometheus.Registry, log *slog.Logger) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	routes.Handle("/", admin.Handler(l, log))
	return routes
}

// monitoringHandler serves /metrics, /healthz and /readyz, the latter with the errors of the checks.
func monitoringHandler(api http.Handler, registry *prometheus.Registry) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	routes.Handle("GET /healthz", api)
	routes.Handle("GET /readyz", httpapi.ForOperator(api))
	return routes
}
