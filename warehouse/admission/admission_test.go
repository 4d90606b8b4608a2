package admission_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/admission"
)

// id returns the UUID of a number.
func id(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte{byte(n >> 8), byte(n)}) }

func acquire(t *testing.T, c *admission.Controller, tenant, key int) (release func()) {
	t.Helper()
	release, err := c.Acquire(t.Context(), id(tenant), id(key))
	if err != nil {
		t.Fatalf("tenant %d, key %d: got %v, want a slot", tenant, key, err)
	}
	return release
}

func wantStats(t *testing.T, c *admission.Controller, active, waiting int) {
	t.Helper()
	if got := c.Stats(); got.Active != active || got.Waiting != waiting {
		t.Errorf("got %d active and %d waiting, want %d and %d", got.Active, got.Waiting, active, waiting)
	}
}

func TestAcquire_RefusalNamesTheShareThatIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := admission.New(admission.Limits{Total: 4, PerTenant: 3, PerKey: 2, MaxWait: time.Second})
		acquire(t, c, 1, 1)
		acquire(t, c, 1, 1)
		acquire(t, c, 1, 2)
		for _, test := range []struct {
			name        string
			tenant, key int
			want        error
		}{
			{"the key has all of its slots", 1, 1, admission.ErrKey},
			{"the tenant has all of its slots", 1, 3, admission.ErrTenant},
		} {
			start := time.Now()
			if _, err := c.Acquire(t.Context(), id(test.tenant), id(test.key)); !errors.Is(err, test.want) ||
				time.Since(start) != time.Second {
				t.Errorf("%s: got %v after %v, want %v after 1s", test.name, err, time.Since(start), test.want)
			}
		}
		acquire(t, c, 2, 4) // the reserve
		for _, tenant := range []int{2, 3} {
			if _, err := c.Acquire(t.Context(), id(tenant), id(9)); !errors.Is(err, admission.ErrTotal) {
				t.Errorf("tenant %d: got %v, want %v", tenant, err, admission.ErrTotal)
			}
		}
		got := c.Stats()
		if want := (admission.Stats{Active: 4, RefusedTotal: 2, RefusedTenant: 1, RefusedKey: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestAcquire_NoTenantTakesEverySlot(t *testing.T) {
	for total := 2; total <= 70; total++ {
		synctest.Test(t, func(t *testing.T) {
			c := admission.New(admission.Limits{Total: total, PerTenant: 1000, PerKey: 1000, MaxWait: time.Second})
			for n := range 2 * total { // each caller with a key of its own
				go func() { _, _ = c.Acquire(t.Context(), id(1), id(n)) }()
			}
			synctest.Wait()
			if free := total - c.Stats().Active; free < 1 {
				t.Errorf("total %d: a tenant took every slot", total)
			}
			acquire(t, c, 2, 1)()
			time.Sleep(time.Minute) // virtual: every caller has left the queue
		})
	}
}

func TestAcquire_FirstSlotOfATenantDoesNotWaitForSecondSlotsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := admission.New(admission.Limits{Total: 4, PerTenant: 2, PerKey: 2, MaxWait: time.Second})
		for range 2 {
			acquire(t, c, 1, 1)
		}
		acquire(t, c, 2, 2)
		if _, err := c.Acquire(t.Context(), id(2), id(2)); !errors.Is(err, admission.ErrTotal) {
			t.Errorf("second slot of tenant 2: got %v, want %v", err, admission.ErrTotal)
		}
		acquire(t, c, 3, 3)
	})
}

// A tenant with any number of waiting callers delays the first waiting caller of another tenant by one slot.
func TestAcquire_TenantsTakeTurnsAndCallersOfATenantKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := admission.New(admission.Limits{Total: 2, PerTenant: 1, PerKey: 1})
		hold := []func(){acquire(t, c, 8, 8), acquire(t, c, 9, 9)}
		var mu sync.Mutex
		var order []string
		enter := func(tenant, n int) {
			go func() {
				release, err := c.Acquire(t.Context(), id(tenant), id(tenant))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, fmt.Sprint(tenant, "-", n))
				mu.Unlock()
				time.Sleep(time.Second)
				release()
			}()
			synctest.Wait()
		}
		for n := range 1000 {
			enter(1, n)
		}
		enter(2, 0)
		enter(3, 0)
		enter(2, 1)
		wantStats(t, c, 2, 1003)
		hold[0]()
		time.Sleep(20 * time.Second)
		// Of two slots, one is tenant 1's, and the others follow each other in the second, once that is free.
		hold[1]()
		time.Sleep(2000 * time.Second)
		synctest.Wait()
		var one []string
		for i, name := range order {
			if name[0] == '1' {
				if want := fmt.Sprint(1, "-", len(one)); name != want {
					t.Fatalf("caller %d: got %s, want %s", i, name, want)
				}
				one = append(one, name)
			}
		}
		if got, want := slices.Index(order, "2-0"), 1; got != want {
			t.Errorf("tenant 2's first caller was number %d, want %d: %v", got, want, order[:6])
		}
		if got, want := slices.Index(order, "3-0"), 2; got != want {
			t.Errorf("tenant 3's first caller was number %d, want %d: %v", got, want, order[:6])
		}
		wantStats(t, c, 0, 0)
	})
}

func TestAcquire_CallerThatWaitsForItsKeyBlocksNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := admission.New(admission.Limits{Total: 8, PerTenant: 4, PerKey: 1})
		release := acquire(t, c, 1, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = c.Acquire(ctx, id(1), id(1)) }()
		synctest.Wait()
		acquire(t, c, 1, 2)()
		acquire(t, c, 2, 3)()
		wantStats(t, c, 1, 1)
		cancel()
		synctest.Wait()
		wantStats(t, c, 1, 0)
		release()
		release() // twice is once
		wantStats(t, c, 0, 0)
	})
}

func TestAcquire_FullQueueRefusesTheTenantWithMostWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := admission.New(admission.Limits{Total: 2, PerTenant: 1, PerKey: 1, Waiters: 6, WaitersPerTenant: 5})
		acquire(t, c, 8, 8)
		release := acquire(t, c, 9, 9)
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan int, 10)
		enter := func(tenant int) {
			go func() {
				if _, err := c.Acquire(ctx, id(tenant), id(tenant)); err != nil && ctx.Err() == nil {
					refused <- tenant
				}
			}()
			synctest.Wait()
		}
		for range 6 {
			enter(1)
		}
		if got := <-refused; got != 1 {
			t.Fatalf("got tenant %d refused, want the one beyond its own bound", got)
		}
		enter(2)
		wantStats(t, c, 2, 6)
		enter(3)
		if got := <-refused; got != 1 {
			t.Fatalf("got tenant %d refused, want the one with most waiters", got)
		}
		wantStats(t, c, 2, 6)
		release()
		synctest.Wait()
		cancel()
		synctest.Wait()
		wantStats(t, c, 2, 0)
	})
}

func TestAcquire_EndedContextTakesNoSlot(t *testing.T) {
	c := admission.New(admission.Limits{Total: 2, PerTenant: 1, PerKey: 1})
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := c.Acquire(ctx, id(1), id(1)); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
	wantStats(t, c, 0, 0)
}

// Random arrivals, stays and departures: no share is ever exceeded, a tenant that holds no slot is passed over at most
// once by each other tenant, and no slot is lost.
func TestAcquire_RandomArrivals(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			limits := admission.Limits{Total: 2 + r.IntN(9), Waiters: 40, WaitersPerTenant: 20,
				MaxWait: time.Duration(1+r.IntN(30)) * time.Second}
			limits.PerTenant, limits.PerKey = 1+r.IntN(limits.Total-1), 1+r.IntN(3)
			limits.PerKey = min(limits.PerKey, limits.PerTenant)
			c := admission.New(limits)
			const tenants, keys = 5, 3
			var mu sync.Mutex
			all, ofTenant, ofKey := 0, [tenants]int{}, [tenants][keys]int{}
			passed := [tenants][tenants]int{} // grants of the second while the first waits without a slot
			waiting := [tenants]int{}
			var group sync.WaitGroup
			for range 400 {
				tenant, key := r.IntN(tenants), r.IntN(keys)
				if r.IntN(2) == 0 {
					tenant, key = 0, 0 // one that floods
				}
				stay, patience := time.Duration(r.IntN(4000))*time.Millisecond, time.Duration(1+r.IntN(40000))*time.Millisecond
				group.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					mu.Lock()
					waiting[tenant]++
					mu.Unlock()
					release, err := c.Acquire(ctx, id(tenant), id(100*tenant+key))
					mu.Lock()
					waiting[tenant]--
					if err != nil {
						mu.Unlock()
						return
					}
					all++
					ofTenant[tenant]++
					ofKey[tenant][key]++
					if all > limits.Total || ofTenant[tenant] > limits.PerTenant || ofKey[tenant][key] > limits.PerKey {
						t.Errorf("seed %d, %+v: %d slots in all, %d of a tenant, %d of a key", seed, limits, all, ofTenant[tenant],
							ofKey[tenant][key])
					}
					for other := range tenants {
						if other != tenant && waiting[other] > 0 && ofTenant[other] == 0 {
							if passed[other][tenant]++; passed[other][tenant] > 2 {
								t.Errorf("seed %d, %+v: tenant %d got %d slots while tenant %d waited for its first", seed, limits, tenant,
									passed[other][tenant], other)
							}
						}
					}
					passed[tenant] = [tenants]int{}
					mu.Unlock()
					time.Sleep(stay)
					mu.Lock()
					all--
					ofTenant[tenant]--
					ofKey[tenant][key]--
					mu.Unlock()
					release()
				})
				time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
				synctest.Wait()
			}
			group.Wait()
			wantStats(t, c, 0, 0)
		})
	}
}
