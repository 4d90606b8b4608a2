package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A numberedSource has portions with calls of both tenants. Its state is the number of portions that were read.
type numberedSource struct{ portions int }

func (numberedSource) Name() string { return "numbered" }

func (s numberedSource) Pull(
	ctx context.Context, state json.RawMessage, take func(context.Context, ingest.Portion) error,
) error {
	read := 0
	if state != nil {
		if err := json.Unmarshal(state, &read); err != nil {
			return err
		}
	}
	for ; read < s.portions; read++ {
		var rows strings.Builder
		for _, tenant := range []uuid.UUID{TenantA, TenantB} {
			if err := json.NewEncoder(&rows).Encode(Call(tenant, read, nil)); err != nil {
				return err
			}
		}
		portion := ingest.Portion{Dataset: schema.Calls, Rows: strings.NewReader(rows.String()),
			State: json.RawMessage(fmt.Sprint(read + 1))}
		if err := take(ctx, portion); err != nil {
			return err
		}
	}
	return nil
}

// calls returns the number of calls of a tenant.
func calls(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID) int {
	t.Helper()
	feed, err := w.Changes(t.Context(), tenant, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 100)
	NoError(t, err)
	return len(feed.Items)
}

// A tenant whose store is unavailable does not stop a source of many tenants for the others. The run fails and names
// the tenant, which gets its rows as soon as its store is back.
func TestPull_UnavailableTenantDoesNotStopOthers(t *testing.T) {
	dir := EmptyFolder(t)
	w := Open(t, dir)
	pull := func(portions int) error {
		_, err := schedule.New(w).Pull(t.Context(), numberedSource{portions}, uuid.Nil)
		return err
	}
	NoError(t, pull(1))
	NoError(t, w.Close())
	store := filepath.Join(dir, "warehouse", TenantB.String()+".duckdb")
	NoError(t, os.Rename(store, store+".away"))
	w = Open(t, dir)
	defer func() { NoError(t, w.Close()) }()
	for run := range 2 {
		var unmerged *warehouse.UnmergedError
		err := pull(3 + run)
		if !errors.As(err, &unmerged) || len(unmerged.Tenants) != 1 || unmerged.Tenants[TenantB] == nil {
			t.Fatalf("run %d: got error %v, want one of tenant B", run, err)
		}
		WantKind(t, err, warehouse.ErrUnavailable)
		if got := calls(t, w, TenantA); got != 3+run {
			t.Errorf("run %d: got %d calls of tenant A, want %d", run, got, 3+run)
		}
		lags, err := w.Lags(t.Context(), "numbered")
		NoError(t, err)
		if len(lags) != 1 || lags[0].Tenant != TenantB || string(lags[0].State) != "1" {
			t.Errorf("run %d: got lags %+v, want one of tenant B from the state 1", run, lags)
		}
	}
	NoError(t, os.Rename(store+".away", store))
	NoError(t, pull(4))
	for _, tenant := range []uuid.UUID{TenantA, TenantB} {
		if got := calls(t, w, tenant); got != 4 {
			t.Errorf("got %d calls of tenant %s, want 4", got, tenant)
		}
	}
	if lags, err := w.Lags(t.Context(), "numbered"); err != nil || len(lags) != 0 {
		t.Errorf("got lags %+v and error %v, want none", lags, err)
	}
}
