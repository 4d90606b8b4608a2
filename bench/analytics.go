package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/control"
)

const (
	targetCosts      = 1.3 // × the bare statement
	targetCostsAdded = 5.0 // ms more
	targetSearch     = 0.5 // × ILIKE
)

// analytics measures the analytics of costs against the bare statement, and the search against ILIKE.
func (b *bench) analytics(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	return serving(ctx, big.data, func(s *server) error {
		_, key, err := s.warehouse.CreateKey(ctx, tenantID, control.Secret, control.KeySettings{Label: "bench"})
		if err != nil {
			return err
		}
		s.key = key
		return errors.Join(b.costs(ctx, s), b.search(ctx, s, big.data))
	})
}

// costs measures the costs of a year by day and assistant. The target over all calls is a ratio. The target over the
// busy calls, which are few and form as many groups, is a number of milliseconds. Over all calls such a number would be
// useless, because two runs of the same statement differ by ten times as much.
func (b *bench) costs(ctx context.Context, s *server) (err error) {
	snapshot, err := s.warehouse.Snapshot(ctx, tenantID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	for _, of := range []struct {
		calls, condition, filter, reach string
		pairs                           int
		reached                         func(factor, added sample) bool
	}{
		{thousands(2*b.rows) + " calls", "", "", fmt.Sprintf("≤ %g×", targetCosts), 10 * b.rounds,
			func(factor, _ sample) bool { return factor.median() <= targetCosts }},
		{"the busy ones of them", " AND replace(status, '_', '-') = 'busy'", "&status=busy",
			fmt.Sprintf("≤ %g ms more", targetCostsAdded), 50 * b.rounds,
			func(_, added sample) bool { return added.median() <= targetCostsAdded }},
	} {
		bare := statements.Fill("analytics/costs", "columns", "date_trunc('day', local)::DATE AS period, "+
			"assistant_id::VARCHAR AS by_assistant, ",
			"local", "make_timestamp(epoch_us(created_at))", "grouping", "GROUP BY ALL", "seconds",
			statements.Get("analytics/call_seconds"),
			"rows", "SELECT * FROM calls WHERE created_at >= '2026-01-01 00:00:00+00'::TIMESTAMPTZ AND created_at < "+
				"'2027-01-01 00:00:00+00'::TIMESTAMPTZ"+of.condition)
		var ours, theirs sample
		alone := func() error {
			return theirs.timed(func() error {
				rows, err := snapshot.Conn.QueryContext(ctx, bare)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				return rows.Err()
			})
		}
		asked := func() error {
			return ours.timed(func() error {
				return s.drain(ctx, "/api/v1/analytics/costs?from=2026-01-01&to=2026-12-31&interval=day&group_by=assistant"+
					of.filter)
			})
		}
		for i := range of.pairs + 1 {
			first, second := alone, asked
			if i%2 == 1 { // alternate, because one may pay for the clean-up of the other
				first, second = asked, alone
			}
			if err := errors.Join(first(), second()); err != nil {
				return err
			}
		}
		ours, theirs = ours[1:], theirs[1:] // the first round warms both
		factor, added := ratioOfEach(ours, theirs), differenceOfEach(ours, theirs)
		b.table.add(row{"costs of a year by day and assistant, " + of.calls + ", HTTP",
			"the bare statement, on the tenant's file", of.reach,
			fmt.Sprintf("%.1f ms against %.1f ms", ours.median(), theirs.median()),
			result(fmt.Sprintf("%s, adds %.1f ms", factor.ratio(), added.median()), of.reached(factor, added))})
	}
	return nil
}

// search measures searches for a common word and for a word that does not occur. Unlike the statement it is compared
// with, it also ranks, counts and returns turns.
func (b *bench) search(ctx context.Context, s *server, data string) error {
	db, err := sameParquet(ctx, data)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, word := range []struct{ text, kind string }{{"appointment", "that many turns have"},
		{"zanzibar", "that no turn has"}} {
		var ours, theirs sample
		for range 3*b.rounds + 1 {
			if err := theirs.timed(func() error {
				return readAll(ctx, db,
					"SELECT count(*) FROM transcript_turns WHERE text ILIKE "+statements.Text("%"+word.text+"%"))
			}); err != nil {
				return err
			}
			if err := ours.timed(func() error {
				return s.drain(ctx, "/api/v1/analytics/transcripts/search?q="+url.QueryEscape(word.text))
			}); err != nil {
				return err
			}
		}
		ours, theirs = ours[1:], theirs[1:]
		factor := ratioOfEach(ours, theirs)
		b.table.add(row{"search of a word " + word.kind + ", in " + thousands(2*b.rows) + " calls, HTTP",
			"DuckDB counting by ILIKE, on the published turns", fmt.Sprintf("≤ %g×", targetSearch),
			fmt.Sprintf("%.0f ms against %.0f ms", ours.median(), theirs.median()),
			result(factor.ratio(), factor.median() <= targetSearch)})
	}
	return nil
}
