package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// errWrong is the kind of errors that say that the server has served something wrong.
var errWrong = errors.New("wrong data")

// A tenant is a tenant of a history, with its keys.
type tenant struct {
	id   uuid.UUID
	mu   sync.Mutex
	keys []apiKey // valid; guarded by mu
	gone []apiKey // revoked; guarded by mu
}

type apiKey struct {
	ID  uuid.UUID `json:"id"`
	Key string    `json:"key"`
}

// A follower follows the change feed of a dataset.
type follower struct {
	mu     sync.Mutex
	cursor string
	view   map[rowKey]int64 // versions, 0 for deleted rows
}

// A machine is the state of a history.
type machine struct {
	ctx      context.Context
	seed     uint64
	deadline time.Time // no step begins later; zero: no limit
	results  *results
	srv      *server
	where    *place

	tenants   []*tenant
	expiring  apiKey // of the first tenant; valid for some hours
	numbers   map[uuid.UUID]rowKey
	followers map[string]*follower // by tenant and dataset
	hist      *history
	version   atomic.Int64
	pushes    []*repeatedPush
	keysUsed  int         // idempotency keys
	faults    int         // that were drawn
	crashing  atomic.Bool // requests may fail

	mu       sync.Mutex
	deferred []func(end int64) // adds the requests without an answer to the histories; guarded by mu

	steps []string
	err   error // the first failure; no step is done after it
}

const tenantsPerHistory = 3

// newMachine starts a server on a new folder in the place.
func newMachine(ctx context.Context, program string, seed uint64, where *place, results *results) (*machine, error) {
	file, err := os.Create(where.log())
	if err != nil {
		return nil, err
	}
	m := &machine{
		ctx: ctx, seed: seed, results: results, where: where,
		srv:       &server{program: program, data: where.data(), log: &logFile{file: file}},
		followers: map[string]*follower{}, hist: newHistory(), numbers: map[uuid.UUID]rowKey{},
	}
	for i := range tenantsPerHistory {
		one := &tenant{id: uuid.NewSHA1(namespace, fmt.Appendf(nil, "tenant %d", i))}
		m.tenants = append(m.tenants, one)
		for _, dataset := range datasets {
			m.followers[one.id.String()+dataset] = &follower{view: map[rowKey]int64{}}
			for n := range rowsPerDataset {
				key := rowKey{one.id, dataset, n}
				m.numbers[key.id()] = key
			}
		}
	}
	return m, nil
}

// begin starts the server and gives each tenant a key, some rows and a refused row, all published.
func (m *machine) begin() error {
	if err := m.srv.start(m.ctx); err != nil {
		return err
	}
	for i, one := range m.tenants {
		for range 2 {
			if err := m.createKey(one); err != nil {
				return err
			}
		}
		for _, dataset := range datasets {
			if err := m.push(m.newBody(i, dataset, 0, rowsPerDataset/2, 1, 0), nil); err != nil {
				return err
			}
		}
		if err := m.pushRefused(one); err != nil {
			return err
		}
	}
	if err := m.srv.operator(m.ctx, http.MethodPost, "/keys", map[string]any{
		"tenant_id": m.tenants[0].id, "type": "secret", "label": "expires", "expires_at": time.Now().Add(12 * time.Hour),
	}, &m.expiring); err != nil {
		return err
	}
	return m.publishAndSettle()
}

func (m *machine) client(one *tenant) client {
	one.mu.Lock()
	defer one.mu.Unlock()
	return client{m.srv.address, one.keys[0].Key}
}

func (m *machine) createKey(one *tenant) error {
	var key apiKey
	err := m.srv.operator(m.ctx, http.MethodPost, "/keys",
		map[string]any{"tenant_id": one.id, "type": "secret", "label": "torture"}, &key)
	if err == nil {
		one.mu.Lock()
		one.keys = append(one.keys, key)
		one.mu.Unlock()
	}
	return err
}

// revokeKey revokes a key of the tenant, if it has another one. The key must be refused from the next request on. If
// the server dies meanwhile, it is not known whether the key is valid.
func (m *machine) revokeKey(one *tenant) error {
	one.mu.Lock()
	if len(one.keys) < 2 {
		one.mu.Unlock()
		return nil
	}
	key := one.keys[len(one.keys)-1]
	one.keys = one.keys[:len(one.keys)-1]
	one.mu.Unlock()
	if err := m.srv.operator(m.ctx, http.MethodDelete, "/keys/"+key.ID.String(), nil, nil); err != nil {
		return err
	}
	one.mu.Lock()
	one.gone = append(one.gone, key)
	one.mu.Unlock()
	return m.checkRevoked(key)
}

func (m *machine) checkRevoked(key apiKey) error {
	got, err := client{m.srv.address, key.Key}.do(m.ctx, http.MethodGet, "/api/v1/calls?limit=1", nil)
	if err != nil {
		return err
	}
	if got.status != http.StatusUnauthorized {
		return fmt.Errorf("%w: revoked key %s: got %s, want 401", errWrong, key.ID, got)
	}
	return nil
}

// A body is the content of a push.
type body struct {
	tenant  int
	dataset string
	keys    []rowKey
	values  []value
	text    []byte
}

// newBody returns a body with new versions of count rows, from a number on, stride apart. Every row whose version is
// divisible by deletions is a deletion.
func (m *machine) newBody(tenant int, dataset string, from, count, stride, deletions int) body {
	b := body{tenant: tenant, dataset: dataset}
	for i := range count {
		key := rowKey{m.tenants[tenant].id, dataset, (from + i*stride) % rowsPerDataset}
		if slices.Contains(b.keys, key) {
			break
		}
		version := m.version.Add(1)
		v := value{version, deletions > 0 && version%int64(deletions) == 0}
		b.keys, b.values = append(b.keys, key), append(b.values, v)
		line, err := json.Marshal(key.row(v))
		if err != nil {
			panic(err)
		}
		b.text = append(append(b.text, line...), '\n')
	}
	return b
}

// push pushes a body and records its outcome. With repeated, it uses the idempotency key of that push.
func (m *machine) push(b body, repeated *repeatedPush) error {
	header := []string{"Content-Type", "application/x-ndjson"}
	if repeated != nil {
		header = append(header, "Idempotency-Key", repeated.key)
	}
	call := m.hist.now()
	got, err := m.client(m.tenants[b.tenant]).do(m.ctx, http.MethodPost, "/api/v1/ingest/"+b.dataset, b.text, header...)
	end := m.hist.now()
	kind := write
	result := pushResult{kind: "fresh", answer: string(got.body)}
	switch {
	case err == nil && got.status == http.StatusOK:
		if got.header.Get("Idempotency-Replayed") == "true" {
			result.kind, kind = "replayed", read
		}
		var answer struct{ Data struct{ Read, Refused int } }
		if err := json.Unmarshal(got.body, &answer); err != nil {
			return err
		}
		if answer.Data.Read != len(b.keys) || answer.Data.Refused != 0 {
			return fmt.Errorf("%w: push of %d rows: got %s", errWrong, len(b.keys), got)
		}
		m.results.pushed(len(b.keys))
	case err == nil && got.status == http.StatusTooManyRequests:
		return nil // not begun
	case err == nil && got.status == http.StatusConflict && repeated != nil && got.code() == "IDEMPOTENCY_KEY_IN_USE":
		result.kind, kind = "in use", read
	default:
		result.kind, kind = "unknown", maybeWrite
	}
	record := func(end int64) {
		if repeated != nil {
			repeated.add(result, call, end)
		}
		if kind != read {
			for i, key := range b.keys {
				m.hist.add(key, rowOp{kind: kind, value: b.values[i]}, call, end)
			}
		}
	}
	if kind == maybeWrite { // it may come into effect until the server has recovered
		m.mu.Lock()
		m.deferred = append(m.deferred, record)
		m.mu.Unlock()
	} else {
		record(end)
	}
	if err == nil && kind == maybeWrite {
		err = &answerError{"POST /api/v1/ingest/" + b.dataset, got}
	}
	return err
}

// versions returns the versions of all rows of a dataset in what a reader got. Rows that the reader did not get have
// version 0.
func (m *machine) versions(one *tenant, dataset string, items []item) (map[rowKey]int64, error) {
	found := map[rowKey]int64{}
	for i := range items {
		key, version, err := items[i].read(one.id, dataset, m.numbers)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWrong, err)
		}
		if _, twice := found[key]; twice {
			return nil, fmt.Errorf("%w: %s is there twice", errWrong, key)
		}
		found[key] = version
	}
	for n := range rowsPerDataset {
		key := rowKey{one.id, dataset, n}
		if _, ok := found[key]; !ok {
			found[key] = 0
		}
	}
	return found, nil
}

// readAll reads a dataset by one of the roads that show rows at once, and records what it found.
func (m *machine) readAll(one *tenant, dataset, road string) (map[rowKey]int64, error) {
	call := m.hist.now()
	var items []item
	var err error
	switch road {
	case "export":
		items, err = m.client(one).export(m.ctx, dataset)
	case "pages":
		items, err = m.client(one).pages(m.ctx, dataset)
	}
	if err != nil {
		return nil, err
	}
	end := m.hist.now()
	found, err := m.versions(one, dataset, items)
	if err != nil {
		return nil, fmt.Errorf("%s of %s of %s: %w", road, dataset, one.id, err)
	}
	for key, version := range found {
		m.hist.add(key, rowOp{kind: read, seen: version}, call, end)
	}
	m.results.read(len(found))
	return found, nil
}

// follow reads the change feed of a dataset to its end, and records what the follower knows then. Each change must
// come once.
func (m *machine) follow(one *tenant, dataset string) error {
	f := m.followers[one.id.String()+dataset]
	f.mu.Lock()
	defer f.mu.Unlock()
	call := m.hist.now()
	for {
		path := "/api/v1/" + dataset + "?limit=100&since=0"
		if f.cursor != "" {
			path = "/api/v1/" + dataset + "?limit=100&cursor=" + url.QueryEscape(f.cursor)
		}
		var p page
		if err := m.client(one).get(m.ctx, path, &p); err != nil {
			return err
		}
		for i := range p.Data {
			key, version, err := p.Data[i].read(one.id, dataset, m.numbers)
			if err != nil {
				return fmt.Errorf("%w: change feed of %s: %w", errWrong, dataset, err)
			}
			if before, known := f.view[key]; known && version != 0 && before == version {
				return fmt.Errorf("%w: change feed of %s: version %d of %s came twice", errWrong, dataset, version, key)
			}
			f.view[key] = version
		}
		switch {
		case p.Meta.HasMore && p.Meta.NextCursor != nil:
			f.cursor = *p.Meta.NextCursor
			continue
		case p.Meta.ResumeCursor != nil:
			f.cursor = *p.Meta.ResumeCursor
		}
		break
	}
	end := m.hist.now()
	for n := range rowsPerDataset {
		key := rowKey{one.id, dataset, n}
		m.hist.add(key, rowOp{kind: read, seen: f.view[key]}, call, end)
	}
	m.results.read(rowsPerDataset)
	return nil
}

const allRows = `SELECT id, call_sid FROM calls
	UNION ALL SELECT id, name FROM customers
	UNION ALL SELECT id, content::VARCHAR FROM messages`

// sqlVersions returns the rows of all datasets as SQL shows them.
func (m *machine) sqlVersions(one *tenant) (map[rowKey]int64, error) {
	rows, err := m.client(one).query(m.ctx, allRows)
	if err != nil {
		return nil, err
	}
	found := map[rowKey]int64{}
	for _, row := range rows {
		id, err := uuid.Parse(fmt.Sprint(row[0]))
		if err != nil {
			return nil, err
		}
		key, mark := m.numbers[id], fmt.Sprint(row[1])
		if key.dataset == "messages" {
			var content struct{ Text struct{ Body string } }
			if err := json.Unmarshal([]byte(mark), &content); err != nil {
				return nil, fmt.Errorf("%w: SQL: content of %s: %w", errWrong, key, err)
			}
			mark = content.Text.Body
		}
		var version int64
		if _, err := fmt.Sscanf(mark[strings.LastIndexByte(mark, ':')+1:], "%d", &version); err != nil ||
			key.tenant != one.id || mark != key.mark(version) {
			return nil, fmt.Errorf("%w: SQL of %s: row %s, %s, is %q", errWrong, one.id, id, key, mark)
		}
		if _, twice := found[key]; twice {
			return nil, fmt.Errorf("%w: SQL: %s is there twice", errWrong, key)
		}
		found[key] = version
	}
	return found, nil
}

func (m *machine) publish() error {
	return m.srv.operator(m.ctx, http.MethodPost, "/publish", nil, nil)
}

// publishAndSettle publishes everything while nothing writes, reads all rows by every road, and checks the history.
func (m *machine) publishAndSettle() error {
	if err := m.publish(); err != nil {
		return err
	}
	found := map[rowKey]int64{}
	for _, one := range m.tenants {
		for _, dataset := range datasets {
			rows, err := m.readAll(one, dataset, "export")
			if err != nil {
				return err
			}
			maps.Copy(found, rows)
		}
		if err := m.checkPublished(one, found); err != nil {
			return err
		}
	}
	if err := m.hist.check(); err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	m.hist.settle(found, true)
	return nil
}

// checkPublished compares the files and SQL of a tenant with its rows, which are all published.
func (m *machine) checkPublished(one *tenant, want map[rowKey]int64) error {
	published, err := m.sqlVersions(one)
	if err != nil {
		return err
	}
	for _, dataset := range datasets {
		exist := int64(0)
		for n := range rowsPerDataset {
			key := rowKey{one.id, dataset, n}
			if published[key] != want[key] {
				return fmt.Errorf("%w: SQL: %s: got version %d, want %d", errWrong, key, published[key], want[key])
			}
			if want[key] != 0 {
				exist++
			}
		}
		rows, err := m.client(one).files(m.ctx, dataset)
		if err != nil {
			return err
		}
		if rows != exist {
			return fmt.Errorf("%w: files of %s of %s: got %d rows, want %d", errWrong, dataset, one.id, rows, exist)
		}
	}
	return nil
}

// A task is something that a client or the operator does beside others.
type task struct {
	name string
	run  func() error
}

// drawTask draws a task. Only what it draws depends on the seed.
func (m *machine) drawTask(t *rapid.T) task {
	tenantNumber := rapid.IntRange(0, len(m.tenants)-1).Draw(t, "tenant")
	one := m.tenants[tenantNumber]
	dataset := rapid.SampledFrom(datasets).Draw(t, "dataset")
	kinds := []string{"push", "push", "push with key", "repeat", "follow", "export", "pages", "sql", "files", "publish",
		"create key", "revoke key"}
	kind := rapid.SampledFrom(kinds).Draw(t, "task")
	name := fmt.Sprintf("%s %d %s", kind, tenantNumber, dataset)
	switch kind {
	case "push", "push with key":
		b := m.newBody(tenantNumber, dataset, rapid.IntRange(0, rowsPerDataset-1).Draw(t, "from"),
			rapid.IntRange(1, rowsPerDataset).Draw(t, "count"), rapid.SampledFrom([]int{1, 7, 11}).Draw(t, "stride"),
			rapid.SampledFrom([]int{0, 5, 2}).Draw(t, "deletions"))
		if kind == "push" {
			return task{name, func() error { return m.push(b, nil) }}
		}
		p := &repeatedPush{key: fmt.Sprintf("push-%d-%d", m.seed, m.keysUsed), tenant: tenantNumber, body: b}
		m.pushes, m.keysUsed = append(m.pushes, p), m.keysUsed+1
		return task{name, func() error { return m.push(p.body, p) }}
	case "repeat":
		if len(m.pushes) == 0 {
			return task{"no push to repeat", func() error { return nil }}
		}
		p := m.pushes[rapid.IntRange(0, len(m.pushes)-1).Draw(t, "push")]
		return task{"repeat " + p.key, func() error { return m.push(p.body, p) }}
	case "follow":
		return task{name, func() error { return m.follow(one, dataset) }}
	case "export", "pages":
		return task{name, func() error { return ignoreValue(m.readAll(one, dataset, kind)) }}
	case "sql":
		return task{name, func() error { return ignoreValue(m.sqlVersions(one)) }}
	case "files":
		return task{name, func() error { return ignoreValue(m.client(one).files(m.ctx, dataset)) }}
	case "publish":
		return task{name, m.publish}
	case "create key":
		return task{name, func() error { return m.createKey(one) }}
	default:
		return task{name, func() error { return m.revokeKey(one) }}
	}
}

// changeEverything does one operation of each kind that changes the data folder, so that every operation of the file
// system happens. Each may fail.
func (m *machine) changeEverything(d draw) {
	one, extra := m.tenants[d.Tenant], &tenant{id: uuid.New()}
	_ = m.start([]task{
		{"push", func() error {
			return m.push(m.newBody(d.Tenant, datasets[d.Which%len(datasets)], d.Which, 3, 1, 0), nil)
		}},
		{"refused row", func() error { return m.pushRefused(one) }},
		{"create key", func() error { return m.createKey(one) }},
	})()
	_ = m.publish()
	if m.createKey(extra) == nil {
		_ = m.pushRefused(extra)
		body := fmt.Appendf(nil, `{"id":%q,"created_at":"2026-01-02T03:04:05Z"}`, uuid.New())
		_, _ = m.client(extra).do(m.ctx, http.MethodPost, "/api/v1/ingest/calls", body, "Content-Type",
			"application/x-ndjson")
		_ = m.publish()
	}
	m.srv.run(m.ctx, "tenants", "delete", extra.id.String(), "--yes")
}

// pushRefused pushes a row that goes to the quarantine.
func (m *machine) pushRefused(one *tenant) error {
	refused := fmt.Appendf(nil, `{"id":%q,"created_at":"never"}`, uuid.NewSHA1(one.id, nil))
	got, err := m.client(one).do(m.ctx, http.MethodPost, "/api/v1/ingest/calls", refused,
		"Content-Type", "application/x-ndjson")
	if err == nil && got.code() != "NO_ROW_ACCEPTED" {
		err = fmt.Errorf("push of a row that must be refused: got %s", got)
	}
	return err
}

func ignoreValue[T any](_ T, err error) error { return err }

// drawTasks draws tasks that run at the same time.
func (m *machine) drawTasks(t *rapid.T) (tasks []task) {
	for range rapid.IntRange(2, 6).Draw(t, "tasks") {
		tasks = append(tasks, m.drawTask(t))
	}
	return tasks
}

func names(tasks []task) string {
	var list []string
	for _, one := range tasks {
		list = append(list, one.name)
	}
	return strings.Join(list, ", ")
}

// start runs the tasks at the same time. The function that it returns waits for all of them and returns the first
// error that matters: while the server crashes, requests may fail, but must not return wrong data.
func (m *machine) start(tasks []task) (wait func() error) {
	var group sync.WaitGroup
	failures := make([]error, len(tasks))
	for i, one := range tasks {
		group.Go(func() {
			if err := one.run(); err != nil {
				failures[i] = fmt.Errorf("%s: %w", one.name, err)
			}
		})
	}
	return func() error {
		group.Wait()
		for _, err := range failures {
			if err == nil || isBusy(err) || m.crashing.Load() && !errors.Is(err, errWrong) {
				continue
			}
			return err
		}
		return nil
	}
}

// isBusy reports whether the server refused a request because others are in progress.
func isBusy(err error) bool {
	var got *answerError
	return errors.As(err, &got) && (got.status == http.StatusTooManyRequests || got.code() == "BUSY")
}

// step does one step of the history, unless an earlier one has failed or the time is over.
func (m *machine) step(name string, do func() error) {
	if m.err != nil || !m.deadline.IsZero() && time.Now().After(m.deadline) {
		return
	}
	m.steps = append(m.steps, name)
	m.results.step()
	if err := do(); err != nil {
		m.err = err
	}
}

// run does the steps of a history, with the faults from a number on. It is the property that rapid checks.
func (m *machine) run(t *rapid.T, faults []*fault, from int) {
	defer func() { _ = m.srv.stop(syscall.SIGKILL) }()
	m.step("begin", m.begin)
	t.Repeat(map[string]func(*rapid.T){
		"requests": func(t *rapid.T) {
			tasks := m.drawTasks(t)
			m.step("requests: "+names(tasks), func() error {
				if err := m.start(tasks)(); err != nil {
					return err
				}
				return m.checkPushes()
			})
		},
		"fault": func(t *rapid.T) {
			if len(faults) == 0 {
				t.Skip("the place allows none of the faults")
			}
			f := faults[(from+m.faults)%len(faults)]
			tasks, draw := m.drawTasks(t), drawFault(t)
			m.step(fmt.Sprintf("fault: %s (%+v) during %s", f.name, draw, names(tasks)), func() error {
				m.faults++
				if f.needs != nil && !f.needs(m.where) {
					return nil // the machine does not allow it
				}
				return m.suffer(f, draw, tasks)
			})
		},
	})
	m.step("end", m.end)
}

// settleUnanswered adds the requests without an answer to the histories. They have ended, or never will.
func (m *machine) settleUnanswered() {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.hist.now()
	for _, record := range m.deferred {
		record(end)
	}
	m.deferred = nil
}

func (m *machine) checkPushes() error {
	for _, p := range m.pushes {
		if err := p.check(); err != nil {
			return fmt.Errorf("%w: %w", errWrong, err)
		}
	}
	return nil
}

// end publishes and checks everything, stops the server, and verifies the folder that it leaves.
func (m *machine) end() error {
	if err := m.publishAndSettle(); err != nil {
		return err
	}
	if err := m.srv.stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the server: %w: %s", err, m.srv.log.tail())
	}
	if found, status, err := m.srv.document(m.ctx, "verify"); err != nil || status != 0 {
		return errors.Join(fmt.Errorf("verify the stopped folder: exit status %d: %+v", status, found.Findings), err)
	}
	return nil
}

// files returns the files of the data folder that match the pattern.
func (m *machine) files(pattern string) []string {
	found, err := filepath.Glob(filepath.Join(m.srv.data, pattern))
	if err != nil {
		panic(err)
	}
	return found
}
