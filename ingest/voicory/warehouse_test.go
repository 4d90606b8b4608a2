package voicory

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tenant = uuid.MustParse("d3a0c0de-0000-4000-8000-000000000001")

// keeper stands for the warehouse: what it took is durable, and the last row of an id counts.
type keeper struct {
	t        *testing.T
	lists    map[string]map[string]string // dataset, id, row as listed
	details  map[string]string            // id of a call, its details
	order    []string                     // calls in the order in which their details came
	state    json.RawMessage
	states   []string
	portions int
	rows     int
	log      bytes.Buffer
	fail     func(portion int) error
}

func newKeeper(t *testing.T) *keeper {
	return &keeper{t: t, lists: map[string]map[string]string{"calls": {}, "customers": {}, "messages": {}}, details: map[string]string{}}
}

func (k *keeper) take(_ context.Context, p ingest.Portion) error {
	k.portions++
	if k.fail != nil {
		if err := k.fail(k.portions); err != nil {
			return err
		}
	}
	if p.Tenant != tenant {
		k.t.Errorf("rows are of tenant %s", p.Tenant)
	}
	in := bufio.NewScanner(p.Rows)
	for in.Scan() {
		k.rows++
		line, id := in.Text(), gjson.Get(in.Text(), "id").String()
		if !gjson.Valid(line) {
			k.t.Fatalf("line %s", line)
		}
		if strings.Contains(line, "stt_minutes") {
			if slices.Contains(p.Absent, "stt_minutes") || p.Dataset.Name != "calls" {
				k.t.Errorf("portion of %s without %v has %s", p.Dataset.Name, p.Absent, line)
			}
			k.details[id] = line
			k.order = append(k.order, id)
			continue
		}
		if want := absent[p.Dataset.Name]; !slices.Equal(want, p.Absent) {
			k.t.Errorf("portion of %s is without %v", p.Dataset.Name, p.Absent)
		}
		k.lists[p.Dataset.Name][id] = line
	}
	if p.State != nil {
		k.state = p.State
		k.states = append(k.states, string(p.State))
		if len(p.State) > 2000 || strings.Contains(string(p.State), testKey) {
			k.t.Errorf("state is %s", p.State)
		}
	}
	return in.Err()
}

// source is one of u that logs to k.
func (k *keeper) source(u *upstream, change func(*Options)) *Source {
	k.t.Helper()
	options := Options{BaseURL: "http://upstream/api/v1/", APIKey: testKey, Tenant: tenant, Window: DefaultWindow,
		Client: serve(k.t, u), Log: slog.New(slog.NewTextHandler(&k.log, nil))}
	if change != nil {
		change(&options)
	}
	s, err := New(options)
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

// pull must succeed.
func (k *keeper) pull(s *Source) {
	k.t.Helper()
	if err := s.Pull(context.Background(), k.state, k.take); err != nil {
		k.t.Fatal(err)
	}
	synctest.Wait() // for the upstream to leave off, too
}

// holds checks that each of the rows is kept as the upstream has it now.
func (k *keeper) holds(dataset string, rows []*record) {
	k.t.Helper()
	missing, stale := 0, 0
	for _, r := range rows {
		switch k.lists[dataset][r.id] {
		case strings.ReplaceAll(r.text(false), "\n", " "):
		case "":
			missing++
		default:
			stale++
		}
	}
	if missing+stale > 0 {
		k.t.Errorf("of %d %s %d are missing and %d are not as they are now", len(rows), dataset, missing, stale)
	}
}

func (k *keeper) holdsAll(u *upstream) {
	k.t.Helper()
	for dataset, rows := range u.rows {
		k.holds(dataset, rows)
	}
	if u.earned > 0 {
		k.t.Errorf("%d requests earned a 429", u.earned)
	}
	if strings.Contains(k.log.String(), testKey) {
		k.t.Error("the key is in the log")
	}
}

// holdsDetails checks that the details of all calls are kept.
func (k *keeper) holdsDetails(u *upstream) {
	k.t.Helper()
	missing, stale := 0, 0
	for _, r := range u.rows["calls"] {
		switch k.details[r.id] {
		case strings.ReplaceAll(r.text(true), "\n", " "):
		case "":
			missing++
		default:
			stale++
		}
	}
	if missing+stale > 0 {
		k.t.Errorf("details of %d calls are missing and of %d not as they are now", missing, stale)
	}
}
