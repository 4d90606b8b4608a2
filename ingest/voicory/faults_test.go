package voicory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/voicory/warehouse/warehouse"
)

// faults are faulty responses of the API.
var faults = map[string]http.HandlerFunc{
	"500": func(w http.ResponseWriter, _ *http.Request) { writeError(w, 500, "INTERNAL_ERROR", "Server error") },
	"503": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	},
	"html":                     respondWebPage(502),
	"html as if all were well": respondWebPage(200),
	"429": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "31")
		writeError(w, 429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded")
	},
	"reset":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"slow":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"no JSON":  respondWith(`{"data":[{"id":"`),
	"no page":  respondWith(`{"status":"ok"}`),
	"no rows":  respondWith(`{"data":[],"meta":{"total":5,"has_more":false}}`),
	"odd rows": respondWith(`{"data":[null],"meta":{"total":5}}`),
	"not sorted": respondWith(`{"data":[{"created_at":"1999-01-01T00:00:00Z"},` +
		`{"created_at":"1999-02-01T00:00:00Z"}],"meta":{"total":5}}`),
	"breaks off": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":[`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
	"too short": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"data":[],"meta":{"total":0}}`)
	},
}

func respondWith(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func respondWebPage(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprint(w, "\n<!doctype html><title>Oh</title>")
	}
}

// A temporary fault does not affect the rows.
func TestPull_TemporaryFault(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.fill(750)
				u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
					if n%3 == 2 || n == 1 {
						return fault
					}
					return nil
				}
				k.pull(k.newSource(u, nil))
				k.checkAllRows(u)
			})
		})
	}
}

// A permanent fault ends the pull after some minutes with an error of one line. Rows read before are stored.
func TestPull_PermanentFault(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.fill(750)
				u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
					if n > 5 {
						return fault
					}
					return nil
				}
				s := k.newSource(u, nil)
				began := time.Now()
				err := s.Pull(t.Context(), nil, k.take)
				least, most := 3*time.Minute, 7*time.Minute
				if name == "429" { // a rate limit is not a fault, and may last longer
					least, most = limitBudget, limitBudget+time.Minute
				}
				if took := time.Since(began); took < least || took > most {
					t.Errorf("got an error after %s, want %s to %s", took, least, most)
				}
				if !errors.Is(err, ErrUpstream) || strings.Contains(err.Error(), "\n") ||
					strings.Contains(err.Error(), testKey) {
					t.Errorf("got %v, want ErrUpstream on one line without the key", err)
				}
				if k.rows != 500 {
					t.Errorf("got %d rows, want 500", k.rows)
				}
				synctest.Wait() // until the API's goroutines are idle
				u.intercept = nil
				k.pull(s)
				k.checkAllRows(u)
			})
		})
	}
}

// A response that a retry cannot change ends the pull with ErrInvalid.
func TestPull_PermanentResponsesAreNotRetried(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
		asked  int
	}{
		"key unknown": {says: "INVALID_API_KEY: Invalid API key", answer: func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, 401, "INVALID_API_KEY", "Invalid API key")
		}},
		"key repeated": {says: "INVALID_API_KEY: no … here", answer: func(w http.ResponseWriter, r *http.Request) {
			writeError(w, 401, "INVALID_API_KEY", "no "+r.Header.Get("x-api-key")+"\nhere")
		}},
		"forbidden": {says: "403 Forbidden", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}},
		"bad request": {says: "INVALID_FILTER", answer: func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, 400, "INVALID_FILTER", "from")
		}},
		"nowhere": {says: "--base-url", answer: http.NotFound},
		"not listed": {says: "--base-url", answer: func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, 404, "NOT_FOUND", "Resource not found")
		}},
		"elsewhere": {says: "--base-url", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example.com/api/v1/calls", http.StatusMovedPermanently)
		}},
		"a web page": {says: "--base-url", answer: respondWebPage(200), asked: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.intercept = func(int, *http.Request) http.HandlerFunc { return test.answer }
				err := k.newSource(u, nil).Pull(t.Context(), nil, k.take)
				if !errors.Is(err, warehouse.ErrInvalid) || !strings.Contains(err.Error(), test.says) ||
					strings.ContainsAny(err.Error(), "\n") {
					t.Errorf("got %v, want ErrInvalid with %q on one line", err, test.says)
				}
				if err != nil && strings.Contains(err.Error(), testKey) || strings.Contains(k.log.String(), testKey) {
					t.Error("got the API key in the error or the log")
				}
				if got, want := len(u.requests), max(1, test.asked); got != want {
					t.Errorf("got %d requests, want %d", got, want)
				}
			})
		})
	}
}

// A Retry-After that exceeds the maximum ends the pull without a retry.
func TestPull_LongRetryAfterEndsPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.intercept = func(int, *http.Request) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "86400")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		err := k.newSource(u, nil).Pull(t.Context(), nil, k.take)
		if !errors.Is(err, ErrUpstream) || len(u.requests) != 1 {
			t.Errorf("got %v after %d requests, want ErrUpstream after 1", err, len(u.requests))
		}
	})
}

func TestNew_InvalidOptions(t *testing.T) {
	good := Options{BaseURL: "https://voicory.example.com/api/v1", APIKey: testKey, Tenant: tenant}
	s, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if name := s.Name(); strings.Contains(name, testKey) || !strings.Contains(name, tenant.String()) {
		t.Fatalf("got name %q, want one with the tenant and without the key", name)
	}
	for name, spoil := range map[string]func(*Options){
		"no URL":       func(o *Options) { o.BaseURL = "" },
		"no scheme":    func(o *Options) { o.BaseURL = "voicory.example.com/api/v1" },
		"other scheme": func(o *Options) { o.BaseURL = "ftp://voicory.example.com/api/v1" },
		"no path":      func(o *Options) { o.BaseURL = "https://voicory.example.com" },
		"a list":       func(o *Options) { o.BaseURL += "/calls" },
		"a query":      func(o *Options) { o.BaseURL += "?key=" + testKey },
		"a password":   func(o *Options) { o.BaseURL = "https://me:" + testKey + "@voicory.example.com/api/v1" },
		"no key":       func(o *Options) { o.APIKey = "" },
		"line in key":  func(o *Options) { o.APIKey += "\n" },
		"long key":     func(o *Options) { o.APIKey = strings.Repeat(testKey, 9) },
		"no tenant":    func(o *Options) { o.Tenant = uuid.Nil },
		"window":       func(o *Options) { o.Window = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			spoil(&bad)
			if _, err := New(bad); !errors.Is(err, warehouse.ErrInvalid) || strings.Contains(err.Error(), testKey) {
				t.Errorf("got %v, want ErrInvalid without the key", err)
			}
		})
	}
}

// FuzzPage checks that each JSON document is either refused or becomes complete lines of JSON.
func FuzzPage(f *testing.F) {
	u := newFakeAPI()
	f.Add(`{"data":[` + u.add("calls", time.Unix(1e9, 0)).json(false) + `],"meta":{"total":1,"has_more":false}}`)
	f.Add(`{"data":[{"id":7,"created_at":null},{},{"created_at":"9999-12-31T23:59:59.999999999Z"}],` +
		`"meta":{"total":1e300}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if !gjson.Valid(body) {
			return
		}
		p, err := parsePage(gjson.ParseBytes(onOneLine([]byte(body))), time.Time{})
		if err != nil {
			return
		}
		out, err := io.ReadAll(iotest.OneByteReader(&rowReader{rows: p.rows}))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "\n"); n != len(p.rows) {
			t.Fatalf("got %d lines, want %d", n, len(p.rows))
		}
		for line := range strings.Lines(string(out)) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("got a line that is not JSON: %q", line)
			}
		}
	})
}
