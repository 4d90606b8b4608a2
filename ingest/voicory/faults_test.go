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

// faults are what an upstream does wrong for a while.
var faults = map[string]http.HandlerFunc{
	"500": func(w http.ResponseWriter, _ *http.Request) { fail(w, 500, "INTERNAL_ERROR", "Server error") },
	"503": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	},
	"html":                     webPage(502),
	"html as if all were well": webPage(200),
	"429": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "31")
		fail(w, 429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded")
	},
	"reset":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"slow":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"no JSON":    text(`{"data":[{"id":"`),
	"no page":    text(`{"status":"ok"}`),
	"no rows":    text(`{"data":[],"meta":{"total":5,"has_more":false}}`),
	"odd rows":   text(`{"data":[null],"meta":{"total":5}}`),
	"not sorted": text(`{"data":[{"created_at":"1999-01-01T00:00:00Z"},{"created_at":"1999-02-01T00:00:00Z"}],"meta":{"total":5}}`),
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

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func webPage(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprint(w, "\n<!doctype html><title>Oh</title>")
	}
}

// A fault that passes leaves no trace in the rows.
func TestFaultsPass(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newUpstream(), newKeeper(t)
				u.fill(750)
				u.before = func(n int, _ *http.Request) http.HandlerFunc {
					if n%3 == 2 || n == 1 {
						return fault
					}
					return nil
				}
				k.pull(k.source(u, nil))
				k.holdsAll(u)
			})
		})
	}
}

// A fault that stays ends the pull with one line, some minutes later; what was read before is kept.
func TestFaultsStay(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newUpstream(), newKeeper(t)
				u.fill(750)
				u.before = func(n int, _ *http.Request) http.HandlerFunc {
					if n > 5 {
						return fault
					}
					return nil
				}
				s := k.source(u, nil)
				began := time.Now()
				err := s.Pull(t.Context(), nil, k.take)
				if took := time.Since(began); took < 3*time.Minute || took > 7*time.Minute {
					t.Errorf("patience was %s", took)
				}
				if !errors.Is(err, ErrUpstream) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), testKey) {
					t.Errorf("error is %v", err)
				}
				if k.rows != 500 {
					t.Errorf("%d rows were kept", k.rows)
				}
				synctest.Wait() // for the upstream to leave off, too
				u.before = nil
				k.pull(s)
				k.holdsAll(u)
			})
		})
	}
}

// What does not get better ends the pull at the first answer.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
		asked  int
	}{
		"key unknown": {says: "INVALID_API_KEY: Invalid API key", answer: func(w http.ResponseWriter, _ *http.Request) { fail(w, 401, "INVALID_API_KEY", "Invalid API key") }},
		"key repeated": {says: "INVALID_API_KEY: no … here", answer: func(w http.ResponseWriter, r *http.Request) {
			fail(w, 401, "INVALID_API_KEY", "no "+r.Header.Get("x-api-key")+"\nhere")
		}},
		"forbidden":   {says: "403 Forbidden", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
		"bad request": {says: "INVALID_FILTER", answer: func(w http.ResponseWriter, _ *http.Request) { fail(w, 400, "INVALID_FILTER", "from") }},
		"nowhere":     {says: "--base-url", answer: http.NotFound},
		"not listed":  {says: "--base-url", answer: func(w http.ResponseWriter, _ *http.Request) { fail(w, 404, "NOT_FOUND", "Resource not found") }},
		"elsewhere": {says: "--base-url", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example.com/api/v1/calls", http.StatusMovedPermanently)
		}},
		"a web page": {says: "--base-url", answer: webPage(200), asked: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newUpstream(), newKeeper(t)
				u.before = func(int, *http.Request) http.HandlerFunc { return test.answer }
				err := k.source(u, nil).Pull(t.Context(), nil, k.take)
				if !errors.Is(err, warehouse.ErrInvalid) || !strings.Contains(err.Error(), test.says) || strings.ContainsAny(err.Error(), "\n") {
					t.Errorf("error is %v", err)
				}
				if err != nil && strings.Contains(err.Error(), testKey) || strings.Contains(k.log.String(), testKey) {
					t.Error("the key is told")
				}
				if len(u.asked) != max(1, test.asked) {
					t.Errorf("asked %d times", len(u.asked))
				}
			})
		})
	}
}

// An answer that asks for a long silence is believed.
func TestLongSilenceEndsThePull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.before = func(int, *http.Request) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "86400")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		if err := k.source(u, nil).Pull(t.Context(), nil, k.take); !errors.Is(err, ErrUpstream) || len(u.asked) != 1 {
			t.Errorf("asked %d times: %v", len(u.asked), err)
		}
	})
}

func TestOptions(t *testing.T) {
	good := Options{BaseURL: "https://voicory.example.com/api/v1", APIKey: testKey, Tenant: tenant}
	if s, err := New(good); err != nil || strings.Contains(s.Name(), testKey) || !strings.Contains(s.Name(), tenant.String()) {
		t.Fatal(err)
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
		bad := good
		spoil(&bad)
		if _, err := New(bad); !errors.Is(err, warehouse.ErrInvalid) || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever an upstream answers, it becomes whole lines or an error.
func FuzzPage(f *testing.F) {
	u := newUpstream()
	f.Add(`{"data":[` + u.add("calls", time.Unix(1e9, 0)).text(false) + `],"meta":{"total":1,"has_more":false}}`)
	f.Add(`{"data":[{"id":7,"created_at":null},{},{"created_at":"9999-12-31T23:59:59.999999999Z"}],"meta":{"total":1e300}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if !gjson.Valid(body) {
			return
		}
		p, err := parsePage(gjson.ParseBytes(onOneLine([]byte(body))), time.Time{})
		if err != nil {
			return
		}
		out, err := io.ReadAll(iotest.OneByteReader(&lines{rows: p.rows}))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "\n"); n != len(p.rows) {
			t.Fatalf("%d lines of %d rows", n, len(p.rows))
		}
		for line := range strings.Lines(string(out)) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("line %q", line)
			}
		}
	})
}
