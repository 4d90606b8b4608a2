package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	targetBombed = 3.0 // × the p99 of a server without hostile statements
)

// hostileStatements are statements that use all processors or all memory for as long as they are allowed to.
var hostileStatements = []string{
	"SELECT sum(a.range * b.range * c.range) FROM range(1000000000) a, range(1000000) b, range(1000) c",
	"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
	"SELECT count(DISTINCT md5(a.range::VARCHAR || repeat('x', 1000))) FROM range(1000000000) a",
	"SELECT a.text, count(*) FROM transcript_turns a, transcript_turns b WHERE regexp_matches(a.text || b.text, " +
		"'(a|b|c)*d.*e') GROUP BY ALL",
}

// hostileSQL measures the latency of one client that requests calls while hostile statements run.
func (b *bench) hostileSQL(ctx context.Context) error {
	if !b.canRun("wrk", "`GET /calls/{id}` while hostile statements run as SQL") {
		return nil
	}
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, 3) // each key may run two queries at a time
	for i := range keys {
		if keys[i], err = unlimitedKey(ctx, big.data); err != nil {
			return err
		}
	}
	return b.withServer(ctx, big.data, keys[0], func(ctx context.Context, asking *client) error {
		lines, err := callLines(ctx, asking)
		if err != nil {
			return err
		}
		get := b.wrk(asking.url, 1, lines)
		var idle, bombed sample
		var ended atomic.Int64
		for range b.rounds {
			had, err := get(ctx, loadTime)
			if err != nil {
				return err
			}
			idle = append(idle, had.p99)
			bombing, stop := context.WithCancel(ctx)
			group, bombing := errgroup.WithContext(bombing)
			for i, bomb := range hostileStatements {
				bomber := newClient(asking.url, keys[1+i%2])
				group.Go(func() error {
					defer bomber.http.CloseIdleConnections()
					for bombing.Err() == nil {
						err := bomber.query(bombing, bomb, "json", discard)
						switch {
						case bombing.Err() != nil:
						case err == nil:
							return fmt.Errorf("the statement ended without reaching a limit: %s", bomb)
						case !strings.Contains(err.Error(), "QUERY_"):
							return err
						}
						ended.Add(1) // the statement is sent again
					}
					return nil
				})
			}
			had, err = get(bombing, loadTime)
			stop()
			if err = errors.Join(group.Wait(), err); err != nil {
				return err
			}
			bombed = append(bombed, had.p99)
		}
		logf("%d hostile statements ended", ended.Load())
		ratios := ratioOfEach(bombed, idle)
		b.table.add(row{fmt.Sprintf("p99 of `GET /calls/{id}` while %d hostile statements run as SQL",
			len(hostileStatements)), "the same server without them", fmt.Sprintf("≤ %g×", targetBombed),
			fmt.Sprintf("%.2f ms against %.2f ms", bombed.median(), idle.median()),
			result(ratios.ratio(), ratios.median() <= targetBombed)})
		return nil
	})
}

// callLines returns the request lines of some calls for wrk.
func callLines(ctx context.Context, asking *client) (lines []byte, err error) {
	body, err := asking.get(ctx, "/api/v1/calls?limit=100")
	if err != nil {
		return nil, err
	}
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("list of calls: %w", err)
	}
	for _, call := range list.Data {
		lines = fmt.Appendf(lines, "%s /api/v1/calls/%s\n", asking.key, call.ID)
	}
	return lines, nil
}
