package analytics_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
)

// Every figure of messages equals the figure computed in Go from the same rows, including replies outside the filter.
func TestAnalyze_Messages(t *testing.T) {
	w := openNew(t)
	type sent struct {
		at                              time.Time
		direction, status, number, kind string
		deliveredAt, readAt, bot        bool
	}
	r := rand.New(rand.NewPCG(3, 4))
	var all []sent
	var rows []any
	begin := time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC)
	for n := range 1200 {
		s := sent{at: begin.Add(time.Duration(r.IntN(20*24*60*60)) * time.Second),
			direction: []string{"inbound", "outbound"}[r.IntN(2)],
			number:    []string{"+49301", "+91 98 765", "+919", ""}[r.IntN(4)],
			kind:      []string{"text", "image", "reaction"}[r.IntN(3)], status: "received"}
		fields := row{"created_at": s.at, "direction": s.direction, "message_type": s.kind}
		side := "from_number"
		if s.direction == "outbound" {
			side = "to_number"
			s.status = []string{"sent", "delivered", "read", "failed", "queued"}[r.IntN(5)]
			s.bot, s.deliveredAt, s.readAt = r.IntN(3) > 0, r.IntN(3) == 0, r.IntN(5) == 0
			fields["is_from_bot"] = s.bot
			if s.deliveredAt {
				fields["delivered_at"] = s.at
			}
			if s.readAt {
				fields["read_at"] = s.at
			}
		}
		fields["status"] = s.status
		if s.number != "" {
			fields[side] = s.number
		}
		all = append(all, s)
		rows = append(rows, with(row{"user_id": tenantA, "id": id(n)}, fields))
	}
	merge(t, w, schema.Messages, rows...)

	zone, err := time.LoadLocation("Europe/Berlin")
	noError(t, err)
	filter := schema.Filter{From: begin.AddDate(0, 0, 3), Before: begin.AddDate(0, 0, 17)}
	got := analyze(t, w, "messages", "Europe/Berlin", "day", filter, "direction")
	groups := map[[2]string][]sent{}
	for _, s := range all {
		if !s.at.Before(filter.From) && s.at.Before(filter.Before) {
			key := [2]string{periodOf(s.at, zone, "day"), s.direction}
			groups[key] = append(groups[key], s)
		}
	}
	if len(got) != len(groups) {
		t.Fatalf("got %d rows, want %d", len(got), len(groups))
	}
	for _, f := range got {
		counts := map[string]float64{}
		types := map[string]any{}
		var waits []float64
		of := groups[[2]string{*f.Period, f.Group["direction"].(string)}]
		for _, s := range of {
			n, _ := types[s.kind].(int)
			types[s.kind] = n + 1
			counts[s.direction]++
			if s.direction == "inbound" {
				wait := time.Duration(-1)
				for _, reply := range all {
					if d := reply.at.Sub(s.at); reply.direction == "outbound" && reply.status != "failed" && s.number != "" &&
						reply.number == s.number && d >= 0 && (wait < 0 || d < wait) {
						wait = d
					}
				}
				if wait >= 0 {
					waits = append(waits, wait.Seconds())
				}
				continue
			}
			read := s.status == "read" || s.readAt
			delivered := read || s.status == "delivered" || s.deliveredAt
			for name, yes := range map[string]bool{"read": read, "delivered": delivered,
				"sent": delivered || s.status == "sent", "failed": s.status == "failed", "bot": s.bot} {
				if yes {
					counts[name]++
				}
			}
		}
		f.want(t, "messages", float64(len(of)))
		for _, name := range []string{"inbound", "outbound", "sent", "delivered", "read", "failed"} {
			f.want(t, name, counts[name])
		}
		f.want(t, "bot_share", ratio(counts["bot"], counts["outbound"]))
		f.want(t, "replies", float64(len(waits)))
		slices.Sort(waits)
		f.want(t, "reply_seconds_median", quantile(waits, 0.5))
		f.want(t, "types", fmt.Sprint(types))
	}
}
