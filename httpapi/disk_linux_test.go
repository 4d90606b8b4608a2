package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// While the files of a tenant cannot be written, its pushes get 507 or 503 with Retry-After and other requests succeed.
// /readyz names the cause, and to the operator the tenant. Afterwards everything works again by itself.
func TestDisk_StatusesOfFailedWrites(t *testing.T) {
	disk := faultfs.New(t, faultfs.Options{})
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: filepath.Join(disk.Path(), "data")})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	ingest := func(ctx context.Context, push httpapi.Push) (pushed httpapi.Pushed, err error) {
		body, err := io.ReadAll(push.Body)
		if err != nil {
			return pushed, err
		}
		pushed.Counts, pushed.Refusals, err = w.Merge(ctx, warehouse.Batch{Dataset: push.Dataset, Tenant: push.Tenant,
			Origin: "push", Rows: lines(t, strings.Split(strings.TrimSpace(string(body)), "\n")...)})
		return pushed, err
	}
	handler := httpapi.New(httpapi.Options{Store: w, Log: slog.New(slog.DiscardHandler), Ingest: ingest, MaxBody: 1 << 20})
	api := httptest.NewServer(handler)
	defer api.Close()
	operator := httptest.NewServer(httpapi.ForOperator(handler))
	defer operator.Close()
	keys := map[uuid.UUID]string{}
	for _, tenant := range []uuid.UUID{mine, theirs} {
		_, keys[tenant], err = w.CreateKey(t.Context(), tenant, control.Secret, control.KeySettings{})
		noError(t, err)
		merge(t, w, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-01"}`, tenant, id(1)))
	}
	ask := func(server *httptest.Server, method, path string, tenant uuid.UUID, body string) (status int,
		header http.Header, text string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		noError(t, err)
		request.Header.Set("x-api-key", keys[tenant])
		request.Header.Set("Content-Type", "application/x-ndjson")
		response, err := server.Client().Do(request)
		noError(t, err)
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		noError(t, err)
		if path != "/readyz" { // this server has no checks
			openapitest.Check(t, request, response, answer)
		}
		return response.StatusCode, response.Header, string(answer)
	}
	n := 1
	push := func(tenant uuid.UUID) (int, http.Header, string) {
		n++
		return ask(api, "POST", "/api/v1/ingest/calls", tenant, fmt.Sprintf(`{"id":%q,"created_at":"2026-01-01"}`, id(n)))
	}
	store := mine.String() + ".duckdb.wal"
	for _, test := range []struct {
		name   string
		rule   faultfs.Rule
		status int
		kind   warehouse.ConditionKind
	}{
		{"no space", faultfs.Rule{Path: store, Errno: syscall.ENOSPC}, 507, warehouse.NoSpace},
		{"quota", faultfs.Rule{Path: "data/warehouse/", Errno: syscall.EDQUOT}, 507, warehouse.DiskFailing},
		{"write", faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Path: store, Errno: syscall.EIO}, 503,
			warehouse.DiskFailing},
		{"sync", faultfs.Rule{Ops: []faultfs.Op{faultfs.Fsync}, Path: store, Errno: syscall.EIO}, 503, warehouse.DiskFailing},
		{"read-only", faultfs.Rule{Path: "data/warehouse/", Errno: syscall.EROFS}, 503, warehouse.DiskFailing},
	} {
		t.Run(test.name, func(t *testing.T) {
			fault := disk.Add(test.rule)
			defer fault.Remove()
			if status, header, body := push(mine); status != test.status || header.Get("Retry-After") == "" {
				t.Errorf("got %d %s, want %d with Retry-After", status, body, test.status)
			}
			if status, _, body := ask(operator, "GET", "/readyz", mine, ""); status != 200 ||
				!strings.Contains(body, string(test.kind)) ||
				test.kind == warehouse.DiskFailing && !strings.Contains(body, mine.String()) {
				t.Errorf("got %d %s, want the tenant and %s", status, body, test.kind)
			}
			if status, _, body := ask(api, "GET", "/api/v1/calls", theirs, ""); status != 200 {
				t.Errorf("got %d %s of the other tenant", status, body)
			}
			if strings.Contains(test.rule.Path, mine.String()) {
				if status, _, body := push(theirs); status != 200 {
					t.Errorf("got %d %s of a push of the other tenant", status, body)
				}
			}
			fault.Remove()
			deadline := time.Now().Add(5 * time.Minute)
			for ; ; time.Sleep(100 * time.Millisecond) {
				pushed, _, _ := push(mine)
				read, _, _ := ask(api, "GET", "/api/v1/calls", mine, "")
				_, _, ready := ask(api, "GET", "/readyz", mine, "")
				if pushed == 200 && read == 200 && strings.Contains(ready, `"status":"ready"`) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("got %d of a push, %d of a read and %s after the fault", pushed, read, ready)
				}
			}
		})
	}
}
