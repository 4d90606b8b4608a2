package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// installPython creates venv, and a home directory with the httpfs extension of DuckDB.
const installPython = `python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
HOME=$PWD venv/bin/python -c 'from duckdb_extensions import import_extension; import_extension("httpfs")'`

// installClient runs the script install in a cache folder and returns the folder. The folder contains the file wants of
// testdata/clients and is reused by later runs. If the script fails, as without a network, the test is skipped.
func installClient(t *testing.T, wants, install string) (dir string) {
	t.Helper()
	wanted, err := os.ReadFile(filepath.Join("testdata", "clients", wants))
	noError(t, err)
	cache, err := os.UserCacheDir()
	noError(t, err)
	sum := sha256.Sum256(append(wanted, install...))
	dir = filepath.Join(cache, "voicory-test-clients-"+hex.EncodeToString(sum[:8]))
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	noError(t, os.RemoveAll(dir))
	noError(t, os.MkdirAll(dir, 0o755))
	noError(t, os.WriteFile(filepath.Join(dir, wants), wanted, 0o600))
	command := exec.CommandContext(t.Context(), "sh", "-ec", install)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Skipf("cannot install the clients: %v: %.300s", err, out)
	}
	noError(t, os.WriteFile(done, nil, 0o600))
	return dir
}

// startCountingProxy starts a proxy in front of the server. GET /bytes returns the number of bytes of all responses.
func startCountingProxy(t *testing.T, server string) (base string) {
	t.Helper()
	target, err := url.Parse(server)
	noError(t, err)
	var passed atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bytes" {
			fmt.Fprint(w, passed.Load())
			return
		}
		proxy.ServeHTTP(&passingWriter{w, &passed}, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

type passingWriter struct {
	http.ResponseWriter
	passed *atomic.Int64
}

func (w *passingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *passingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.passed.Add(int64(n))
	return n, err
}

// pandas, polars, pyarrow and DuckDB in Python, and hyparquet and apache-arrow in JavaScript read the same rows from
// exports as the REST pages have. curl resumes downloads.
func TestExports_Clients(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	key := copyDemo(t, data).Secret
	server, _ := serve(t, data, "--rate-limit", "none")
	base, lake := startCountingProxy(t, server), filepath.Join(data, "lake", "tenant_id="+demoTenant.ID.String())
	scripts, err := filepath.Abs(filepath.Join("testdata", "clients"))
	noError(t, err)
	script := func(t *testing.T, dir, program string, args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), program, args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
	}
	t.Run("Python", func(t *testing.T) {
		dir := installClient(t, "requirements.txt", installPython)
		script(t, dir, filepath.Join(dir, "venv", "bin", "python"), filepath.Join(scripts, "clients.py"), base, key, lake)
	})
	t.Run("JavaScript", func(t *testing.T) {
		dir := installClient(t, "package.json", "npm install --silent --no-audit --no-fund --ignore-scripts")
		text, err := os.ReadFile(filepath.Join(scripts, "clients.mjs"))
		noError(t, err)
		// node resolves modules relative to the script
		noError(t, os.WriteFile(filepath.Join(dir, "clients.mjs"), text, 0o600))
		script(t, dir, "node", "clients.mjs", base, key)
	})
	t.Run("curl", func(t *testing.T) { checkResumedDownloads(t, base, key) })
}

// checkResumedDownloads interrupts downloads of files and resumes them with curl.
func checkResumedDownloads(t *testing.T, base, key string) {
	t.Helper()
	curl := func(args ...string) []byte {
		t.Helper()
		command := exec.CommandContext(context.WithoutCancel(t.Context()), "curl",
			append([]string{"-sfS", "-H", "x-api-key: " + key}, args...)...)
		var failure bytes.Buffer
		command.Stderr = &failure
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, &failure)
		}
		return out
	}
	var list struct {
		Data []struct {
			Name, URL, SHA256 string
			Bytes             int64
		}
	}
	noError(t, json.Unmarshal(curl(base+"/api/v1/exports/calls/files"), &list))
	if len(list.Data) < 2 {
		t.Fatalf("got %d files, want several", len(list.Data))
	}
	for _, file := range list.Data[:2] {
		path := filepath.Join(t.TempDir(), file.Name)
		curl("-r", fmt.Sprintf("0-%d", file.Bytes/3), "-o", path, base+file.URL)
		curl("-C", "-", "-o", path, base+file.URL)
		content, err := os.ReadFile(path)
		noError(t, err)
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != file.SHA256 ||
			!strings.Contains(file.Name, file.SHA256[:16]) {
			t.Errorf("%s: the SHA-256 of %d bytes differs from the listed one", file.Name, len(content))
		}
	}
}
