package voicory

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzhttp"
)

// Compressed responses give the same rows as plain ones.
func TestPull_CompressedPages(t *testing.T) {
	for _, coding := range []string{"zstd", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			u := newFakeAPI()
			u.rules = nil
			u.fill(250)
			compress, err := gzhttp.NewWrapper(gzhttp.EnableZstd(coding == "zstd"), gzhttp.EnableGzip(coding == "gzip"),
				gzhttp.PreferZstd(true))
			if err != nil {
				t.Fatal(err)
			}
			var sent atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				compress(u)(w, r)
				if w.Header().Get("Content-Encoding") == coding {
					sent.Add(1)
				}
			}))
			defer server.Close()
			k := newFakeWarehouse(t)
			s, err := New(Options{BaseURL: server.URL + "/api/v1", APIKey: testKey, Tenant: tenant, Window: DefaultWindow})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Pull(t.Context(), nil, k.take); err != nil {
				t.Fatal(err)
			}
			k.checkAllRows(u)
			if sent.Load() < 9 {
				t.Errorf("got %d responses in %s, want at least 9", sent.Load(), coding)
			}
		})
	}
}
