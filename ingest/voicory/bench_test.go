package voicory

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/ingest"
)

// BenchmarkPull reads pages from a local API without limits, once by a Source and once by a bare client that requests
// one page after the other and discards them.
func BenchmarkPull(b *testing.B) {
	const pages = 300
	u := newFakeAPI()
	u.rules = nil
	at := time.Now()
	for i := range pages * pageRows {
		u.add("calls", at.Add(-time.Duration(i)*time.Second))
	}
	padding := strings.Repeat(`{"speaker":"AI","text":"what a caller hears is about as long as this"},`, 20)
	u.pad = `"transcript":[` + strings.TrimSuffix(padding, ",") + `],`
	for _, latency := range []time.Duration{0, 3 * time.Millisecond} {
		u.latency = func() (time.Duration, time.Duration) { return latency, 0 }
		b.Run(latency.String()+" a page", func(b *testing.B) { benchmarkPull(b, u, pages) })
	}
}

func benchmarkPull(b *testing.B, u *fakeAPI, pages int) {
	server := httptest.NewServer(u)
	defer server.Close()
	rate := func(b *testing.B) {
		b.ReportMetric(float64(pages*pageRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			for page := range pages {
				address := fmt.Sprintf("%s/api/v1/calls?limit=100&page=%d", server.URL, page+1)
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
				if err != nil {
					b.Fatal(err)
				}
				request.Header.Set("X-Api-Key", testKey)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		rate(b)
	})
	b.Run("source", func(b *testing.B) {
		for b.Loop() {
			s, err := New(Options{BaseURL: server.URL + "/api/v1", APIKey: testKey, Tenant: tenant})
			if err != nil {
				b.Fatal(err)
			}
			err = s.Pull(b.Context(), nil, func(_ context.Context, p ingest.Portion) error {
				_, err := io.Copy(io.Discard, p.Rows)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
}
