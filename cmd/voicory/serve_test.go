package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse/control"
)

// makeCertificate writes a self-signed certificate for 127.0.0.1 with the serial number, and its private key.
func makeCertificate(t *testing.T, certFile, keyFile string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "example.com"},
		NotAfter:    time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	noError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	noError(t, err)
	noError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	noError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	reloadingTLSConfig, err := x509.ParseCertificate(der)
	noError(t, err)
	return reloadingTLSConfig
}

// With a certificate, the server uses HTTP/2. A renewed certificate is used without a restart.
func TestServe_TLSReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	roots.AddCert(makeCertificate(t, certFile, keyFile, 1))
	url, _ := serve(t, t.TempDir(), "--tls-cert", certFile, "--tls-key", keyFile)
	url = strings.Replace(url, "http:", "https:", 1)
	look := func() (protocol string, serial int64) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/healthz", nil)
		noError(t, err)
		response, err := client.Do(request)
		noError(t, err)
		defer response.Body.Close()
		return response.Proto, response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if protocol, serial := look(); protocol != "HTTP/2.0" || serial != 1 {
		t.Error(protocol, serial)
	}
	roots.AddCert(makeCertificate(t, certFile, keyFile, 2))
	if _, serial := look(); serial != 2 {
		t.Errorf("got certificate %d, want 2", serial)
	}
	noError(t, os.WriteFile(keyFile, []byte("half of"), 0o600))
	if _, serial := look(); serial != 2 {
		t.Errorf("got certificate %d while the files are invalid, want 2", serial)
	}
	wantStatus(t, run(t, "", "serve", "--data", t.TempDir(), "--tls-cert", certFile), exitUsage)
	wantStatus(t, run(t, "", "serve", "--data", t.TempDir(), "--tls-cert", certFile, "--tls-key", keyFile), exitUsage)
}

// largePage creates a data folder whose first page of customers has 20 MB, more than the socket buffers hold.
func largePage(t *testing.T) (data, key string, size int) {
	t.Helper()
	data, key = newFolderWithKey(t)
	var rows strings.Builder
	for n := range 50 {
		fmt.Fprintf(&rows, `{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01","name":%q}`+"\n",
			someTenant, n, strings.Repeat("x", 400_000))
	}
	mustRun(t, rows.String(), "ingest", "--data", data, "--dataset", "customers", "-")
	return data, key, 50 * 400_000
}

// begin requests the large page and reads its first bytes.
func begin(t *testing.T, url, key string) (conn net.Conn, read int) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	noError(t, err)
	_, err = fmt.Fprintf(conn, "GET /api/v1/customers?limit=100 HTTP/1.1\r\nHost: x\r\nx-api-key: %s\r\n\r\n", key)
	noError(t, err)
	begun := make([]byte, 100_000)
	_, err = io.ReadFull(conn, begun)
	noError(t, err)
	if !bytes.HasPrefix(begun, []byte("HTTP/1.1 200")) {
		t.Fatalf("%.200s", begun)
	}
	return conn, len(begun)
}

// On shutdown, the server completes responses in flight, but waits no longer than --stop-timeout.
func TestStop_DrainsResponses(t *testing.T) {
	t.Parallel()
	data, key, size := largePage(t)
	url, stop := serve(t, data, "--stop-timeout", "1m")
	conn, read := begin(t, url, key)
	defer conn.Close()
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	for { // until the server is shutting down and refuses connections
		other, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		noError(t, other.Close())
	}
	rest, err := io.Copy(io.Discard, conn)
	if err != nil || int(rest)+read < size {
		t.Errorf("got %d bytes, want at least %d: %v", int(rest)+read, size, err)
	}
	<-stopped

	url, stop = serve(t, data, "--stop-timeout", "50ms")
	conn, read = begin(t, url, key)
	defer conn.Close()
	stop() // although the client does not read
	if rest, err := io.Copy(io.Discard, conn); int(rest)+read >= size {
		t.Errorf("got the whole response, want an incomplete one: %v", err)
	}
}

// --operator-listen serves only the monitoring routes, and the public address does not serve metrics.
func TestServe_OperatorListen(t *testing.T) {
	t.Parallel()
	data, key := newFolderWithKey(t)
	urls, _ := serveAll(t, data, "--operator-listen", "127.0.0.1:0")
	url, operator := urls[0], urls[1]
	get(t, url+"/api/v1/calls", key)
	for path, want := range map[string]int{"/metrics": 200, "/readyz": 200, "/healthz": 200, "/api/v1/calls": 404,
		"/keys": 404} {
		if status, body := get(t, operator+path, key); status != want || path == "/metrics" &&
			!strings.Contains(body, `voicory_http_requests_total{method="GET",route="/api/v1/calls",status="200"} 1`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	_, exposition := get(t, operator+"/metrics", key)
	for _, metric := range []string{`voicory_duckdb_memory_bytes{tag="base_table"}`,
		`voicory_duckdb_spilled_bytes{tag="hash_table"}`} {
		if !strings.Contains(exposition, metric) {
			t.Errorf("got no metric %s", metric)
		}
	}
	if status, _ := get(t, url+"/metrics", key); status != 404 {
		t.Errorf("public /metrics: got %d, want 404", status)
	}
}

// --tables-listen serves the tables of all tenants only, for the token.
func TestServe_TablesListen(t *testing.T) {
	data, key := newFolderWithKey(t)
	file, token := filepath.Join(t.TempDir(), "token"), strings.Repeat("token", 8)
	noError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	urls, _ := serveAll(t, data, "--tables-listen", "127.0.0.1:0", "--tables-token-file", file)
	url, tables := urls[0], urls[1]
	for _, test := range []struct {
		url, token string
		status     int
	}{
		{tables, token, 200}, {tables, key, 401}, {url, token, 401},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			test.url+"/iceberg/v1/namespaces/all_tenants/tables/calls", http.NoBody)
		noError(t, err)
		request.Header.Set("Authorization", "Bearer "+test.token)
		response, err := http.DefaultClient.Do(request)
		noError(t, err)
		noError(t, response.Body.Close())
		if response.StatusCode != test.status {
			t.Errorf("%s: got status %d, want %d", test.url, response.StatusCode, test.status)
		}
	}
	if status, _ := get(t, tables+"/api/v1/calls", key); status != 404 {
		t.Errorf("got status %d for the API, want 404", status)
	}
}

// Settings of a key apply from the next request on. The request log has each request, with and without a running
// server.
func TestKeys_SettingsAndRequestLog(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	url, stop := serve(t, data)
	key := createKey(t, data, someTenant, "public", "--label", "app",
		"--rate-limit", "1/1h", "--expires", "720h", "--origin", "https://app.example.com")
	listed := func() (k control.Key) {
		var keys []control.Key
		noError(t, json.Unmarshal([]byte(run(t, "", "keys", "list", "--data", data, "--json").stdout), &keys))
		return keys[0]
	}
	if k := listed(); k.LastUsedAt != nil || k.ExpiresAt == nil || k.RateLimit != "1/1h" || k.Label != "app" ||
		len(k.Origins) != 1 {
		t.Errorf("%+v", k)
	}
	for _, want := range []int{200, 429} {
		if status, body := get(t, url+"/api/v1/calls?status=busy", key); status != want {
			t.Fatal(status, body)
		}
	}
	id := listed().ID.String()
	mustRun(t, "", "keys", "update", "--data", data, id, "--rate-limit", "none", "--origin", "none")
	if status, _ := get(t, url+"/api/v1/calls", key); status != 200 {
		t.Error(status)
	}
	if k := listed(); k.LastUsedAt == nil || k.ExpiresAt == nil || k.RateLimit != "none" || k.Label != "app" ||
		len(k.Origins) != 0 {
		t.Errorf("%+v", k)
	}
	mustRun(t, "", "keys", "update", "--data", data, id, "--expires", "2026-01-01")
	if status, body := get(t, url+"/api/v1/calls", key); status != 401 || !strings.Contains(body, "expired") {
		t.Error(status, body)
	}
	for _, wrong := range [][]string{{id, "--rate-limit", "many"}, {id, "--expires", "tomorrow"},
		{id, "--origin", "app.example.com"}, {"nobody"}} {
		wantStatus(t, run(t, "", append([]string{"keys", "update", "--data", data}, wrong...)...), exitUsage)
	}
	for range 2 { // with the server, then without it
		got := mustRun(t, "", "requests", "--data", data, "--since", "1h", "--tenant", someTenant).stdout
		if strings.Count(got, "\n") != 5 || !strings.Contains(got, "429") ||
			!strings.Contains(got, "GET /api/v1/calls?status=busy") || strings.Contains(got, key) {
			t.Error(got)
		}
		stop()
	}
	var requests []control.Request
	noError(t, json.Unmarshal([]byte(mustRun(t, "", "requests", "--data", data, "--json").stdout), &requests))
	if len(requests) != 4 || requests[3].Status != 401 || requests[3].Key.UUID.String() != id {
		t.Errorf("%+v", requests)
	}
	if got := mustRun(t, "", "requests", "--data", data, "--since", "0s",
		"--json").stdout; strings.TrimSpace(got) != "[]" {
		t.Error(got)
	}
}
