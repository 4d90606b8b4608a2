package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
)

// Source is the part of the warehouse that is replicated.
type Source interface {
	iceberg.Source
	FollowPublications() (published, deleted []uuid.UUID, err error)
	TakePublicationChanges() map[uuid.UUID]time.Time
	CheckDeleted(tenant uuid.UUID) error
	SetCondition(tenant uuid.UUID, kind warehouse.ConditionKind, subject string, err error)
	NoteReplicated(tenant uuid.UUID, names map[string]bool)
}

// Times of the replicator.
const (
	// maxTurn is the time after which the replication of a tenant with many files is interrupted, so that other tenants
	// get a turn.
	maxTurn = time.Minute
	// retryLocal is the pause before a tenant is tried again whose files cannot be read.
	retryLocal = time.Minute
	// compareEvery is the time after which the objects of a tenant are compared with its files even if no file has
	// changed.
	compareEvery = 24 * time.Hour
	// maxLag is the age of a publication from which its tenant has the condition BucketLagging.
	maxLag = 15 * time.Minute
	// scanEvery is the shortest time between two searches for tenants that are due.
	scanEvery = time.Second
	// minPause and maxPause bound the pause after a failed request. It doubles with each failure.
	minPause = time.Second
	maxPause = time.Minute
)

// maxTenants bounds the tenants that are replicated at a time, and maxUploads the files of each that are uploaded at a
// time.
const (
	maxTenants = 4
	maxUploads = 4
)

// A Replicator keeps the tables of all tenants in a bucket. It is safe for concurrent use.
type Replicator struct {
	source Source
	tables *iceberg.Tables
	client *client
	writer string // id of this process in the pointers that it writes
	log    *slog.Logger
	now    func() time.Time
	turn   time.Duration // see maxTurn

	mu      sync.Mutex
	tenants map[uuid.UUID]*tenantState // guarded by mu; the fields of a state are not, see there
	damaged map[string]bool            // guarded by mu; keys of objects to upload again, whatever their length
}

// tenantState is the state of a tenant in a replicator.
type tenantState struct {
	changed     time.Time // of the first publication that was not looked at; zero: none; guarded by Replicator.mu
	replicating time.Time // of the first publication that is being replicated; zero: none; guarded by Replicator.mu
	due         time.Time // of the next replication; zero: when this one has ended; guarded by Replicator.mu
	queued      bool      // waits for its turn; guarded by Replicator.mu
	running     bool      // is being replicated; guarded by Replicator.mu

	// Used by the goroutine that replicates the tenant.
	pointers map[string]pointer   // that this process has read or written, by export
	unnamed  map[string]time.Time // when an object was first seen that no pointer leads to, by key
	last     time.Time            // start of the last replication; zero: none
}

// lagsSince returns the time of the first publication that is not in the bucket, or the zero time.
func (s *tenantState) lagsSince() time.Time {
	if !s.replicating.IsZero() {
		return s.replicating
	}
	return s.changed
}

// New returns a replicator of the source's tables. It sends no request before Run. It returns ErrInvalid for invalid
// options.
func New(o Options, source Source, log *slog.Logger) (*Replicator, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &Replicator{source: source, tables: iceberg.NewTables(source, time.Now), client: c, writer: uuid.NewString(),
		log: log, now: time.Now, turn: maxTurn, tenants: map[uuid.UUID]*tenantState{},
		damaged: map[string]bool{}}, nil
}

// outcome is the outcome of replicating a tenant once.
type outcome struct {
	tenant uuid.UUID
	next   time.Time // when it must be replicated again without a change
	err    error
}

// Run replicates the tables until ctx is done, or until another process has replaced a pointer. A replaced pointer is a
// condition of the data folder until the process ends. A bucket that cannot be reached is a condition, too; Run tries
// again until it can be reached.
func (r *Replicator) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.log.Info("replicating the lake", "bucket", r.client.url(""), "writer", r.writer)
	var (
		queue     []uuid.UUID // due tenants
		running   int
		finished  = make(chan outcome, maxTenants)
		followed  bool
		reachable bool          // the last request has succeeded
		pause     time.Duration // after the last failure; 0: it did not fail
		resume    time.Time     // end of the pause
		scanned   time.Time
	)
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-finished
		}
	}()
	for {
		now := r.now()
		if !reachable && !now.Before(resume) {
			if reachable = r.probe(ctx); !reachable {
				pause = nextPause(pause)
				resume = r.now().Add(pause)
			}
		}
		if !followed {
			followed = r.follow()
		}
		r.takeChanges()
		if now.Sub(scanned) >= scanEvery {
			queue = append(queue, r.scan(now)...)
			scanned = now
		}
		for reachable && running < maxTenants && len(queue) > 0 {
			tenant := queue[0]
			queue, running = queue[1:], running+1
			state := r.begin(tenant)
			go func() {
				next, err := r.replicate(ctx, tenant, state)
				finished <- outcome{tenant, next, err}
			}()
		}
		wait := time.NewTimer(scanEvery)
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		case done := <-finished:
			running--
			if ctx.Err() != nil {
				return
			}
			switch r.end(done, pause); {
			case errors.Is(done.err, errConflict):
				return
			case isBucketError(done.err):
				reachable, pause = false, nextPause(pause)
				resume = r.now().Add(pause)
			case done.err == nil:
				pause = 0
			}
		}
		wait.Stop()
	}
}

func nextPause(pause time.Duration) time.Duration { return min(max(2*pause, minPause), maxPause) }

// probe reports whether the bucket answers. If it does not, that is a condition of the data folder.
func (r *Replicator) probe(ctx context.Context) bool {
	_, err := r.client.list(ctx, uuid.Nil.String()+"/") // no tenant has this id
	if ctx.Err() != nil {
		return false
	}
	r.source.SetCondition(uuid.Nil, warehouse.BucketFailing, r.client.url(""), err)
	return err == nil
}

// follow begins to follow the publications, and makes every tenant due. It reports whether that succeeded.
func (r *Replicator) follow() bool {
	published, deleted, err := r.source.FollowPublications()
	if err != nil {
		r.log.Warn("find the tenants to replicate; tried again", "error", err)
		return false
	}
	now := r.now()
	for _, tenant := range append(published, deleted...) {
		state := r.state(tenant)
		r.mu.Lock()
		state.due = now
		if r.source.CheckDeleted(tenant) == nil { // until it is compared, its publications count as missing
			state.changed = now
		}
		r.mu.Unlock()
	}
	return true
}

// state returns the state of a tenant.
func (r *Replicator) state(tenant uuid.UUID) *tenantState {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.tenants[tenant]
	if state == nil {
		state = &tenantState{pointers: map[string]pointer{}, unnamed: map[string]time.Time{}}
		r.tenants[tenant] = state
	}
	return state
}

// takeChanges makes the tenants due whose manifest has changed.
func (r *Replicator) takeChanges() {
	for tenant, at := range r.source.TakePublicationChanges() {
		state := r.state(tenant)
		r.mu.Lock()
		state.due = at
		if state.changed.IsZero() {
			state.changed = at
		}
		r.mu.Unlock()
	}
}

// scan returns the tenants that are due and neither queued nor being replicated, and sets the conditions of those that
// lag.
func (r *Replicator) scan(now time.Time) (due []uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tenant, state := range r.tenants {
		if !state.queued && !state.running && !state.due.IsZero() && !now.Before(state.due) {
			state.queued = true
			due = append(due, tenant)
		}
		if since := state.lagsSince(); !since.IsZero() && now.Sub(since) > maxLag {
			r.source.SetCondition(tenant, warehouse.BucketLagging, "",
				fmt.Errorf("publications are not in the bucket since %s", now.Sub(since).Truncate(time.Second)))
		}
	}
	return due
}

// begin returns the state of a tenant that is to be replicated. Changes from now on make it due again.
func (r *Replicator) begin(tenant uuid.UUID) *tenantState {
	state := r.state(tenant)
	r.mu.Lock()
	defer r.mu.Unlock()
	state.queued, state.running, state.due = false, true, time.Time{}
	if state.replicating.IsZero() {
		state.replicating = state.changed
	}
	state.changed = time.Time{}
	return state
}

// end records the outcome of replicating a tenant. pause is the pause after the last failure of any tenant.
func (r *Replicator) end(done outcome, pause time.Duration) {
	state := r.state(done.tenant)
	r.mu.Lock()
	defer r.mu.Unlock()
	state.running = false
	next := done.next
	switch err := done.err; {
	case err == nil:
		state.replicating = time.Time{}
		r.source.SetCondition(done.tenant, warehouse.BucketFailing, "", nil)
		if state.changed.IsZero() {
			r.source.SetCondition(done.tenant, warehouse.BucketLagging, "", nil)
		}
	case errors.Is(err, errConflict):
		r.source.SetCondition(uuid.Nil, warehouse.BucketConflict, r.client.url(""), err)
	case isBucketError(err):
		next = r.now().Add(nextPause(pause))
		r.source.SetCondition(done.tenant, warehouse.BucketFailing, "", err)
	case errors.Is(err, errTurn):
		next = r.now()
	default:
		r.log.Warn("replicate a tenant; tried again", "tenant", done.tenant, "error", err)
		next = r.now().Add(retryLocal)
	}
	if state.due.IsZero() {
		state.due = next
	}
}
