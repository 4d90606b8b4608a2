package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "s3cr3t"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

const testBucket = "lakes"

// A store is an object store in this process. Its zero fault lets every request pass.
type store struct {
	backend *s3mem.Backend
	url     string

	mu       sync.Mutex
	requests int                                                                                       // guarded by mu
	fault    func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) // guarded by mu
	after    func(*http.Request)                                                                       // guarded by mu
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{backend: s3mem.New()}
	warehousetest.NoError(t, s.backend.CreateBucket(testBucket))
	server := httptest.NewServer(gofakes3.New(s.backend).Server())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// RoundTrip implements http.RoundTripper.
func (s *store) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	send := func() (*http.Response, error) {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		return http.DefaultTransport.RoundTrip(again)
	}
	s.mu.Lock()
	n, fault, after := s.requests, s.fault, s.after
	s.requests++
	s.mu.Unlock()
	if after != nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		defer after(r)
	}
	if fault != nil {
		return fault(n, r, send)
	}
	return send()
}

// set replaces the fault and starts counting requests.
func (s *store) set(fault func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.requests = fault, 0
}

// modified returns the metadata of an object that is put into the backend without a request.
func modified() map[string]string {
	return map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}
}

func (s *store) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// contents returns the contents of all objects below a prefix, by key without it.
func (s *store) contents(t *testing.T, prefix string) map[string]string {
	t.Helper()
	list, err := s.backend.ListBucket(testBucket, &gofakes3.Prefix{HasPrefix: true, Prefix: prefix + "/"},
		gofakes3.ListBucketPage{})
	warehousetest.NoError(t, err)
	contents := map[string]string{}
	for _, o := range list.Contents {
		found, err := s.backend.GetObject(testBucket, o.Key, nil)
		if gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey) {
			continue // removed meanwhile
		}
		warehousetest.NoError(t, err)
		content, err := io.ReadAll(found.Contents)
		warehousetest.NoError(t, err)
		contents[strings.TrimPrefix(o.Key, prefix+"/")] = string(content)
	}
	return contents
}

var references = regexp.MustCompile(`s3://lakes/([^"\x00-\x20]+?\.(?:avro|parquet))`)

// reachable returns the objects that the pointers in contents lead to, with the pointers. It reports an error if one of
// them is missing.
func reachable(t *testing.T, prefix string, contents map[string]string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	var follow func(key string)
	follow = func(key string) {
		content, exists := contents[key]
		if !exists {
			t.Errorf("a pointer leads to the missing object %s", key)
		}
		if found[key] || strings.HasSuffix(key, ".parquet") {
			found[key] = true
			return
		}
		found[key] = true
		for _, match := range references.FindAllStringSubmatch(content, -1) {
			follow(strings.TrimPrefix(match[1], prefix+"/"))
		}
	}
	for key, content := range contents {
		if isPointer(key) {
			found[key] = true
			follow(strings.TrimSuffix(key, "version-hint.text") + content + metadataSuffix)
		}
	}
	return found
}

// currentSnapshot returns the identifier of the snapshot that the metadata names to which a pointer leads.
func currentSnapshot(t *testing.T, contents map[string]string, pointerKey string) int64 {
	t.Helper()
	var metadata struct {
		ID int64 `json:"current-snapshot-id"`
	}
	key := strings.TrimSuffix(pointerKey, "version-hint.text") + contents[pointerKey] + metadataSuffix
	warehousetest.NoError(t, json.Unmarshal([]byte(contents[key]), &metadata))
	return metadata.ID
}

// newReplicator returns a replicator to the prefix that sends each request once.
func newReplicator(t *testing.T, s *store, source Source, prefix string) *Replicator {
	t.Helper()
	r, err := New(Options{URL: "s3://" + testBucket + "/" + prefix, Endpoint: s.url, Region: "us-east-1", Transport: s,
		attempts: 1},
		source, slog.New(slog.DiscardHandler))
	warehousetest.NoError(t, err)
	return r
}

// replicate replicates tenant A once.
func replicate(t *testing.T, r *Replicator) (time.Time, error) {
	t.Helper()
	next, err := r.replicate(t.Context(), warehousetest.TenantA, r.begin(warehousetest.TenantA))
	r.end(outcome{warehousetest.TenantA, next, err}, 0)
	return next, err
}

func mustReplicate(t *testing.T, r *Replicator) time.Time {
	t.Helper()
	next, err := replicate(t, r)
	warehousetest.NoError(t, err)
	return next
}

// A recorded source answers with the files of the exports as they were at a stage.
type recorded struct {
	*warehouse.Warehouse
	stages []map[string][]warehouse.TableFile
	stage  int
}

func (r *recorded) TableFiles(_ context.Context, _ uuid.UUID, export string) ([]warehouse.TableFile, error) {
	return r.stages[r.stage][export], nil
}

func (r *recorded) record(t *testing.T) {
	t.Helper()
	files := map[string][]warehouse.TableFile{}
	for _, export := range schema.Exports {
		var err error
		files[export.Name], err = r.Warehouse.TableFiles(t.Context(), warehousetest.TenantA, export.Name)
		warehousetest.NoError(t, err)
	}
	r.stages = append(r.stages, files)
}

func publishCall(t *testing.T, w *warehouse.Warehouse, n, month int, number string) {
	t.Helper()
	warehousetest.Merge(t, w, schema.Calls, warehousetest.Call(warehousetest.TenantA, n,
		warehousetest.Row{"created_at": fmt.Sprintf("2026-%02d-03T10:00:00Z", month), "from_number": number}))
	_, err := w.Publish(t.Context())
	warehousetest.NoError(t, err)
}

// faults are the failures of one request. Each calls send as often as the store gets the request.
var faults = map[string]func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error){
	"internal error": func(r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(r, http.StatusInternalServerError, "InternalError"), nil
	},
	"throttled": func(r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(r, http.StatusServiceUnavailable, "SlowDown"), nil
	},
	"concurrent write": func(r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(r, http.StatusConflict, "ConditionalRequestConflict"), nil
	},
	"reset before": func(*http.Request, func() (*http.Response, error)) (*http.Response, error) {
		return nil, io.ErrUnexpectedEOF
	},
	"reset after": func(_ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if response, err := send(); err == nil {
			response.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	},
	"error after": func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if response, err := send(); err == nil {
			response.Body.Close()
		}
		return answer(r, http.StatusServiceUnavailable, "SlowDown"), nil
	},
	"sent twice": func(_ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if response, err := send(); err == nil {
			response.Body.Close()
		}
		return send()
	},
	"truncated answer": func(_ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		response, err := send()
		if err == nil {
			response.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(response.Body, 5), failing{}), response.Body}
		}
		return response, err
	},
	"no answer": func(r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	},
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func answer(r *http.Request, status int, code string) *http.Response {
	body := "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>for a test</Message></Error>"
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Request: r,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
}

// allFaults lets every request fail in every way. Otherwise every ninth pair of a request and a fault is tried.
var allFaults = flag.Bool("faults.all", false, "try every fault of every request")

// TestReplicator_ConvergesAfterFaultOfAnyRequest lets each request of two publications and the removal of garbage fail
// once in each way. After every request, no pointer may lead to a missing object. A later run must reach the same
// objects as without a fault.
func TestReplicator_ConvergesAfterFaultOfAnyRequest(t *testing.T) {
	source := &recorded{Warehouse: warehousetest.OpenNew(t)}
	publishCall(t, source.Warehouse, 1, 1, "+15550100")
	source.record(t)
	publishCall(t, source.Warehouse, 2, 1, "+15550101")
	source.record(t)
	s := newStore(t)

	prefix, timeout := "reference", time.Minute
	run := func(restart bool) {
		now := time.Now()
		r := newReplicator(t, s, source, prefix)
		r.client.timeout = timeout
		step := func(stage int) {
			source.stage, r.now = stage, func() time.Time { return now }
			for try := 0; ; try++ {
				_, err := replicate(t, r)
				if err == nil {
					return
				}
				if errors.Is(err, errConflict) || try == 3 {
					t.Fatalf("stage %d, try %d: %v", stage, try, err)
				}
				if restart {
					r = newReplicator(t, s, source, prefix)
					r.now, r.client.timeout = func() time.Time { return now }, timeout
				}
			}
		}
		step(0)
		step(1)
		step(1)       // another comparison notices objects of failed tries after a restart
		for range 2 { // a process that was started in between waits for another hour
			now = now.Add(warehouse.TableKept)
			step(1)
		}
	}
	s.set(nil)
	run(false)
	total, want := s.sent(), slices.Sorted(maps.Keys(s.contents(t, prefix)))
	if total < 33 || len(want) != 10 {
		t.Fatalf("got %d requests and objects %q", total, want)
	}
	for i, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			if timeout = time.Minute; name == "no answer" {
				timeout = time.Second // longer than a busy machine delays the other requests
			}
			for n := range total {
				if (i+n)%9 != 0 && !*allFaults {
					continue
				}
				restart := (i+n)%2 == 0
				prefix = fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), n)
				failed := ""
				s.set(func(i int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
					if i == n {
						failed = r.Method + " " + r.URL.Path
						return faults[name](r, send)
					}
					return send()
				})
				s.after = func(*http.Request) { reachable(t, prefix, s.contents(t, prefix)) }
				run(restart)
				s.after = nil
				contents := s.contents(t, prefix)
				if got := slices.Sorted(maps.Keys(contents)); len(got) != len(want) {
					t.Errorf("request %d (%s), restart %t: got objects %q, want %q", n, failed, restart, got, want)
				}
				if named := reachable(t, prefix, contents); len(named) != len(contents) {
					t.Errorf("request %d (%s), restart %t: %d of %d objects are named", n, failed, restart, len(named), len(contents))
				}
			}
		})
	}
}

func TestReplicator_KeepsReplacedObjectsForAnHour(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	r := newReplicator(t, s, w, "p")
	now := time.Now
	r.now = func() time.Time { return now() }
	publishCall(t, w, 1, 1, "+15550100")
	mustReplicate(t, r)
	first := s.contents(t, "p")
	publishCall(t, w, 2, 1, "+15550100")
	before := time.Now()
	next := mustReplicate(t, r)
	if next.Before(before.Add(warehouse.TableKept)) || next.After(time.Now().Add(warehouse.TableKept)) {
		t.Errorf("got next time %v, want it in an hour", next)
	}
	missing := func() (keys []string) {
		have := s.contents(t, "p")
		for key := range first {
			if _, exists := have[key]; !exists {
				keys = append(keys, key)
			}
		}
		return keys
	}
	if gone := missing(); len(gone) > 0 {
		t.Errorf("objects of the first snapshot are gone at once: %q", gone)
	}
	now = func() time.Time { return next.Add(time.Minute) }
	mustReplicate(t, r)
	if gone := missing(); len(gone) != 8 { // 2 exports with a file, a manifest, a list and a metadata each
		t.Errorf("only %q of the first snapshot are gone after an hour", gone)
	}
	reachable(t, "p", s.contents(t, "p"))
}

func TestReplicator_RemovesErasedRowsAtOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %t", restart), func(t *testing.T) {
			w, s := warehousetest.OpenNew(t), newStore(t)
			r := newReplicator(t, s, w, "p")
			warehousetest.Merge(t, w, schema.Customers, warehousetest.Row{"user_id": warehousetest.TenantA,
				"id": warehousetest.ID(1), "phone_number": "+15550100", "created_at": "2026-01-01T00:00:00Z"})
			publishCall(t, w, 1, 1, "+15550199")
			publishCall(t, w, 2, 2, "+15550100")
			mustReplicate(t, r)
			before := s.contents(t, "p")
			_, err := w.Erase(t.Context(), warehousetest.TenantA, warehousetest.ID(1), warehouse.EraseOptions{})
			warehousetest.NoError(t, err)
			if restart {
				r = newReplicator(t, s, w, "p")
			}
			mustReplicate(t, r)
			after := s.contents(t, "p")
			if named := reachable(t, "p", after); len(named) != len(after) {
				t.Errorf("%d of %d objects are named after an erasure", len(named), len(after))
			}
			kept := 0
			for key := range before {
				if _, exists := after[key]; exists && strings.HasSuffix(key, ".parquet") {
					kept++
				}
			}
			if kept == 0 {
				t.Error("the files without the erased number were uploaded again")
			}
			for key, content := range after {
				if strings.Contains(content, "15550100") {
					t.Errorf("%s has the erased number", key)
				}
			}
		})
	}
}

// After a restore, the objects of a tenant are those of its published files, and none of the abandoned history is left.
// No pointer goes back to an earlier snapshot.
func TestReplicator_AfterRestore(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %t", restart), func(t *testing.T) {
			t.Parallel()
			w, s := warehousetest.OpenNew(t), newStore(t)
			r := newReplicator(t, s, w, "p")
			publishCall(t, w, 1, 1, "+15550100")
			publishCall(t, w, 2, 2, "+15550100")
			mustReplicate(t, r)
			dest := filepath.Join(t.TempDir(), "backups")
			_, err := w.Backup(t.Context(), warehouse.BackupOptions{Dest: dest})
			warehousetest.NoError(t, err)
			publishCall(t, w, 3, 1, "+15550199") // abandoned
			publishCall(t, w, 4, 3, "+15550199")
			mustReplicate(t, r)
			before := s.contents(t, "p")
			_, err = w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: warehousetest.TenantA})
			warehousetest.NoError(t, err)
			if restart {
				r = newReplicator(t, s, w, "p")
			}
			for stage := range 2 { // as restored, and after another publication
				if stage == 1 {
					publishCall(t, w, 5, 4, "+15550100")
				}
				_, err = w.Publish(t.Context())
				warehousetest.NoError(t, err)
				mustReplicate(t, r)
				after := s.contents(t, "p")
				named := reachable(t, "p", after)
				for key, content := range after {
					if !named[key] && stage == 0 {
						t.Errorf("%s of the abandoned history is left", key)
					}
					if isPointer(key) && currentSnapshot(t, after, key) <= currentSnapshot(t, before, key) {
						t.Errorf("%s: got the metadata %s, want a later snapshot than %s has", key, content, before[key])
					}
				}
				var published []string
				for _, export := range schema.Exports {
					files, err := w.TableFiles(t.Context(), warehousetest.TenantA, export.Name)
					warehousetest.NoError(t, err)
					for _, f := range files {
						_, content, err := w.OpenPublished(t.Context(), warehousetest.TenantA, export.Name, f.Name)
						warehousetest.NoError(t, err)
						text, err := io.ReadAll(content)
						warehousetest.NoError(t, errors.Join(err, content.Close()))
						key := dataKey(warehousetest.TenantA, export.Name, f.Name)
						if after[key] != string(text) {
							t.Errorf("%s differs from the published file", key)
						}
						published = append(published, key)
					}
				}
				for key := range named {
					if strings.HasSuffix(key, ".parquet") && !slices.Contains(published, key) {
						t.Errorf("%s is named, but not published", key)
					}
				}
				before = after
			}
		})
	}
}

// An object that was replaced while the publications are ahead of the clock is kept for an hour, too.
func TestReplicator_PublicationsAheadOfClock(t *testing.T) {
	t.Parallel()
	w, s := warehousetest.OpenNew(t), newStore(t)
	r := newReplicator(t, s, w, "p")
	behind := func() time.Time { return time.Now().AddDate(0, 0, -40) }
	r.now = behind
	publishCall(t, w, 1, 1, "+15550100")
	mustReplicate(t, r)
	first := s.contents(t, "p")
	publishCall(t, w, 2, 1, "+15550100")
	for range 2 {
		mustReplicate(t, r)
	}
	after := s.contents(t, "p")
	for key := range first {
		if _, exists := after[key]; !exists {
			t.Errorf("%s of the replaced snapshot is gone at once", key)
		}
	}
}

func TestReplicator_RemovesDeletedTenant(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	r := newReplicator(t, s, w, "p")
	publishCall(t, w, 1, 1, "+15550100")
	mustReplicate(t, r)
	warehousetest.NoError(t, w.DeleteTenant(t.Context(), warehousetest.TenantA))
	mustReplicate(t, newReplicator(t, s, w, "p"))
	if left := s.contents(t, "p"); len(left) > 0 {
		t.Errorf("objects of the deleted tenant are left: %v", slices.Sorted(maps.Keys(left)))
	}
}

func TestReplicator_LetsOtherTenantsPass(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	for month := range 3 {
		publishCall(t, w, month+1, month+1, "+15550100")
	}
	r := newReplicator(t, s, w, "p")
	r.turn = -time.Second // one file of a table
	turns := 0
	for {
		_, err := replicate(t, r)
		if err == nil {
			break
		}
		if turns++; !errors.Is(err, errTurn) || turns > 6 {
			t.Fatalf("turn %d: %v", turns, err)
		}
		reachable(t, "p", s.contents(t, "p"))
	}
	if turns != 4 {
		t.Errorf("got %d turns for 3 files in each of 2 tables, want 4", turns)
	}
}

func TestReplicator_ReplacesDamagedObject(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	r := newReplicator(t, s, w, "p")
	publishCall(t, w, 1, 1, "+15550100")
	mustReplicate(t, r)
	want := s.contents(t, "p")
	for key := range want {
		if !isPointer(key) {
			_, err := s.backend.PutObject(testBucket, "p/"+key, modified(), strings.NewReader("damaged"), 7, nil)
			warehousetest.NoError(t, err)
		}
	}
	mustReplicate(t, r)
	if got := s.contents(t, "p"); !maps.Equal(got, want) {
		t.Errorf("got objects %q after a damage", slices.Sorted(maps.Keys(got)))
	}
}

func TestReplicator_StopsIfAnotherServerWrites(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	first, second := newReplicator(t, s, w, "p"), newReplicator(t, s, w, "p")
	publishCall(t, w, 1, 1, "+15550100")
	mustReplicate(t, first)
	publishCall(t, w, 2, 1, "+15550100")
	mustReplicate(t, second) // takes over
	publishCall(t, w, 3, 1, "+15550100")
	before := s.contents(t, "p")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	first.Run(ctx)
	if ctx.Err() != nil {
		t.Fatal("the first server goes on")
	}
	if got := s.contents(t, "p"); !maps.Equal(got, before) {
		t.Error("the first server has changed objects")
	}
	conditions := w.Conditions()
	i := slices.IndexFunc(conditions, func(c warehouse.Condition) bool { return c.Kind == warehouse.BucketConflict })
	if i < 0 || !strings.Contains(conditions[i].Error, second.writer) {
		t.Errorf("got conditions %v, want one that names the writer %s", conditions, second.writer)
	}
	mustReplicate(t, second)

	t.Run("between list and put", func(t *testing.T) {
		w := warehousetest.OpenNew(t)
		publishCall(t, w, 1, 1, "+15550100")
		first, second := newReplicator(t, s, w, "q"), newReplicator(t, s, w, "q")
		publishCall(t, w, 2, 2, "+15550100")
		entered := false
		s.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, pointerName) && !entered {
				entered = true
				_, err := s.backend.PutObject(testBucket, strings.TrimPrefix(r.URL.Path, "/"+testBucket+"/"), modified(),
					strings.NewReader("x"), 1, nil)
				warehousetest.NoError(t, err)
			}
			return send()
		})
		defer s.set(nil)
		if _, err := replicate(t, first); !errors.Is(err, errConflict) {
			t.Errorf("got error %v, want errConflict", err)
		}
		mustReplicate(t, second)
	})
}

// runUntil runs the replicator until reached returns true.
func runUntil(t *testing.T, r *Replicator, reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	for !reached() {
		select {
		case <-ended:
			t.Fatal("the condition was not reached")
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	<-ended
}

func condition(w *warehouse.Warehouse, kind warehouse.ConditionKind) string {
	for _, c := range w.Conditions() {
		if c.Kind == kind {
			return c.Error
		}
	}
	return ""
}

func TestReplicator_RunWaitsForTheBucket(t *testing.T) {
	w, s := warehousetest.OpenNew(t), newStore(t)
	publishCall(t, w, 1, 1, "+15550100")
	r := newReplicator(t, s, w, "p")
	s.set(func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if n%2 == 0 && n < 6 {
			return answer(r, http.StatusServiceUnavailable, "SlowDown"), nil
		}
		return send()
	})
	seen := ""
	runUntil(t, r, func() bool {
		if text := condition(w, warehouse.BucketFailing); text != "" {
			seen = text
		}
		_, pending := r.lag()
		return pending == 0 && s.sent() > 6
	})
	if !strings.Contains(seen, "SlowDown") {
		t.Errorf("got condition %q while the store throttles", seen)
	}
	if text := condition(w, warehouse.BucketFailing); text != "" {
		t.Errorf("condition %q has not ended", text)
	}
	contents := s.contents(t, "p")
	if named := reachable(t, "p", contents); len(named) == 0 || len(named) != len(contents) {
		t.Errorf("%d of %d objects are named", len(named), len(contents))
	}
}
