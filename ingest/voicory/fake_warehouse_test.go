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

// A fakeWarehouse stores portions in memory. A later row replaces an earlier one with the same id.
type fakeWarehouse struct {
	t           *testing.T
	lists       map[string]map[string]string // dataset, id, row as listed
	details     map[string]string            // id of a call, its details
	detailOrder []string                     // calls in the order in which their details came
	state       json.RawMessage
	states      []string
	portions    int
	rows        int
	log         bytes.Buffer
	failPortion func(portion int) error
}

func newFakeWarehouse(t *testing.T) *fakeWarehouse {
	lists := map[string]map[string]string{"calls": {}, "customers": {}, "messages": {}}
	return &fakeWarehouse{t: t, lists: lists, details: map[string]string{}}
}

// take stores a portion and its state. It checks that each row is valid and that the missing fields are declared.
func (k *fakeWarehouse) take(_ context.Context, p ingest.Portion) error {
	k.portions++
	if k.failPortion != nil {
		if err := k.failPortion(k.portions); err != nil {
			return err
		}
	}
	if p.Tenant != tenant {
		k.t.Errorf("got rows of tenant %s, want %s", p.Tenant, tenant)
	}
	in := bufio.NewScanner(p.Rows)
	for in.Scan() {
		k.rows++
		line, id := in.Text(), gjson.Get(in.Text(), "id").String()
		if !gjson.Valid(line) {
			k.t.Fatalf("got invalid JSON: %s", line)
		}
		if strings.Contains(line, "stt_minutes") {
			if slices.Contains(p.Absent, "stt_minutes") || p.Dataset.Name != "calls" {
				k.t.Errorf("got details in a portion of %s with missing fields %v: %s", p.Dataset.Name, p.Absent, line)
			}
			k.details[id] = line
			k.detailOrder = append(k.detailOrder, id)
			continue
		}
		if want := absentFields[p.Dataset.Name]; !slices.Equal(want, p.Absent) {
			k.t.Errorf("got missing fields %v in a portion of %s, want %v", p.Absent, p.Dataset.Name, want)
		}
		k.lists[p.Dataset.Name][id] = line
	}
	if p.State != nil {
		k.state = p.State
		k.states = append(k.states, string(p.State))
		if len(p.State) > 2000 || strings.Contains(string(p.State), testKey) {
			k.t.Errorf("got a state that is too long or has the key: %s", p.State)
		}
	}
	return in.Err()
}

// newSource returns a source that reads u and logs to k. change may modify its options.
func (k *fakeWarehouse) newSource(u *fakeAPI, change func(*Options)) *Source {
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

// pull runs a pull with the last state. The test fails if the pull does.
func (k *fakeWarehouse) pull(s *Source) {
	k.t.Helper()
	if err := s.Pull(context.Background(), k.state, k.take); err != nil {
		k.t.Fatal(err)
	}
	synctest.Wait() // until the API's goroutines are idle
}

// checkRows checks that each of the rows is stored with its current content.
func (k *fakeWarehouse) checkRows(dataset string, rows []*storedRow) {
	k.t.Helper()
	missing, stale := 0, 0
	for _, r := range rows {
		switch k.lists[dataset][r.id] {
		case strings.ReplaceAll(r.json(false), "\n", " "):
		case "":
			missing++
		default:
			stale++
		}
	}
	if missing+stale > 0 {
		k.t.Errorf("got %d missing and %d outdated of %d %s, want 0", missing, stale, len(rows), dataset)
	}
}

// checkAllRows checks that all rows are stored, that no request exceeded a limit, and that the key was not logged.
func (k *fakeWarehouse) checkAllRows(u *fakeAPI) {
	k.t.Helper()
	for dataset, rows := range u.rows {
		k.checkRows(dataset, rows)
	}
	if u.refused > 0 {
		k.t.Errorf("got %d responses with status 429, want 0", u.refused)
	}
	if strings.Contains(k.log.String(), testKey) {
		k.t.Error("got the API key in the log")
	}
}

// checkDetails checks that the current details of all calls are stored.
func (k *fakeWarehouse) checkDetails(u *fakeAPI) {
	k.t.Helper()
	missing, stale := 0, 0
	for _, r := range u.rows["calls"] {
		switch k.details[r.id] {
		case strings.ReplaceAll(r.json(true), "\n", " "):
		case "":
			missing++
		default:
			stale++
		}
	}
	if missing+stale > 0 {
		k.t.Errorf("got %d calls with missing and %d with outdated details, want 0", missing, stale)
	}
}
