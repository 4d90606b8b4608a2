package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// A Tenant is the id of a synthetic tenant and its numbers of rows. The same values give the same rows.
type Tenant struct {
	ID                         uuid.UUID
	Calls, Customers, Messages int
	// Days is the number of days before End that its calls and messages are from. The default is all since Start.
	Days int
}

// Start (inclusive) and End (exclusive) bound the created_at of calls and messages. They are fixed, so that every run
// generates the same rows.
var (
	Start = time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC)
	End   = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

// idNamespace is the UUID namespace of all generated ids.
var idNamespace = uuid.MustParse("5e3f6a0c-9d1b-5c2e-8a47-0f6b2d9c4e11")

func (t Tenant) id(kind string, i int) uuid.UUID {
	return uuid.NewSHA1(idNamespace, fmt.Appendf(nil, "%s/%s/%d", t.ID, kind, i))
}

// CustomerID returns the id of the tenant's customer i, counted from 0.
func (t Tenant) CustomerID(i int) uuid.UUID { return t.id("customer", i) }

// rand returns the random numbers of row i of a kind. They do not depend on other rows.
func (t Tenant) rand(kind uint64, i int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(t.ID.ID())<<8|kind, uint64(i)))
}

// Seeds of the random numbers, by kind of row.
const (
	seedCustomer = iota + 1
	seedCall
	seedMessage
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// timeOf returns the time of row i of n. Rows are spread evenly over the days of the tenant, in order, each at a random
// time in its own slot.
func (t Tenant) timeOf(r *rand.Rand, i, n int) time.Time {
	start := Start
	if t.Days > 0 {
		start = End.AddDate(0, 0, -t.Days)
	}
	slot := End.Sub(start) / time.Duration(max(n, 1))
	return start.Add(time.Duration(i)*slot + time.Duration(r.Int64N(int64(slot)))).Truncate(time.Millisecond)
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// writeRows writes n rows as NDJSON. row returns row i.
func writeRows(w io.Writer, n int, row func(i int) any) error {
	out := bufio.NewWriterSize(w, 1<<20)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for i := range n {
		if err := encoder.Encode(row(i)); err != nil {
			return fmt.Errorf("write synthetic rows: %w", err)
		}
	}
	return out.Flush()
}

type customer struct {
	id     uuid.UUID
	name   string
	email  any // null for some
	number string
	since  time.Time
}

func (t Tenant) customer(i int) customer {
	r := t.rand(seedCustomer, i)
	p := customer{
		id:     t.CustomerID(i),
		name:   pick(r, givenNames) + " " + pick(r, familyNames),
		number: fmt.Sprintf("+9198%08d", r.IntN(100_000_000)),
		since:  Start.Add(-time.Duration(r.IntN(200*24)) * time.Hour),
	}
	if r.IntN(10) > 0 {
		p.email = fmt.Sprintf("customer%d@example.com", i)
	}
	return p
}

func (t Tenant) randomCustomer(r *rand.Rand) customer { return t.customer(r.IntN(max(t.Customers, 1))) }

type customerRow struct {
	Tenant          uuid.UUID      `json:"user_id"`
	ID              uuid.UUID      `json:"id"`
	Name            string         `json:"name"`
	Email           any            `json:"email"`
	PhoneNumber     string         `json:"phone_number"`
	Source          any            `json:"source"`
	Interactions    int            `json:"interaction_count"`
	LastInteraction any            `json:"last_interaction"`
	Variables       map[string]any `json:"variables"`
	CreatedAt       string         `json:"created_at"`
	UpdatedAt       string         `json:"updated_at"`
}

// WriteCustomers writes the customers as NDJSON. Their interaction counts match the calls that WriteCalls writes.
func (t Tenant) WriteCustomers(w io.Writer) error {
	count, last := make([]int, t.Customers), make([]time.Time, t.Customers)
	if t.Customers > 0 {
		for i := range t.Calls {
			r := t.rand(seedCall, i)
			at, index := t.timeOf(r, i, t.Calls), r.IntN(t.Customers)
			count[index]++
			last[index] = at
		}
	}
	return writeRows(w, t.Customers, func(i int) any {
		c, r := t.customer(i), t.rand(seedCustomer, -i-1)
		row := customerRow{Tenant: t.ID, ID: c.id, Name: c.name, Email: c.email, PhoneNumber: c.number,
			Interactions: count[i],
			Variables:    map[string]any{}, CreatedAt: formatTime(c.since), UpdatedAt: formatTime(c.since)}
		if r.IntN(4) == 0 {
			row.PhoneNumber = c.number[:3] + " " + c.number[3:8] + " " + c.number[8:]
		}
		if r.IntN(8) > 0 {
			row.Source = pick(r, []string{"website", "whatsapp", "phone", "manual"})
		}
		if r.IntN(3) == 0 {
			row.Variables["tags"] = []string{pick(r, []string{"premium", "new", "returning", "ß-Kunde"})}
		}
		if count[i] > 0 {
			row.LastInteraction, row.UpdatedAt = formatTime(last[i]), formatTime(last[i])
		}
		return row
	})
}

type callRow struct {
	Tenant          uuid.UUID      `json:"user_id"`
	ID              uuid.UUID      `json:"id"`
	CallSID         string         `json:"call_sid"`
	Direction       string         `json:"direction"`
	Status          string         `json:"status"`
	FromNumber      string         `json:"from_number"`
	ToNumber        string         `json:"to_number"`
	PhoneNumber     any            `json:"phone_number"`
	Duration        any            `json:"duration"`
	DurationSeconds any            `json:"duration_seconds"`
	Cost            any            `json:"cost"`
	Summary         any            `json:"summary"`
	Transcript      any            `json:"transcript"`
	RecordingURL    any            `json:"recording_url"`
	Provider        string         `json:"provider"`
	StartedAt       string         `json:"started_at"`
	EndedAt         string         `json:"ended_at"`
	CreatedAt       string         `json:"created_at"`
	AssistantID     uuid.UUID      `json:"assistant_id"`
	Metadata        map[string]any `json:"metadata"`
	STTMinutes      any            `json:"stt_minutes"`
	TTSCharacters   any            `json:"tts_characters"`
}

const businessNumber = "+918000000001"

// WriteCalls writes the calls as NDJSON, oldest first. Transcripts and durations have all formats that the platform
// uses.
func (t Tenant) WriteCalls(w io.Writer) error {
	return writeRows(w, t.Calls, func(i int) any {
		r := t.rand(seedCall, i)
		at := t.timeOf(r, i, t.Calls)
		caller := t.randomCustomer(r)
		row := callRow{Tenant: t.ID, ID: t.id("call", i), CallSID: fmt.Sprintf("CA%016x%016x", r.Uint64(), r.Uint64()),
			Direction: "inbound", Status: "completed", FromNumber: caller.number, ToNumber: businessNumber,
			PhoneNumber: caller.number,
			Provider:    pick(r, []string{"twilio", "twilio", "exotel", "livekit"}),
			AssistantID: t.id("assistant", r.IntN(4)), Metadata: map[string]any{}, StartedAt: formatTime(at),
			CreatedAt: formatTime(at)}
		if r.IntN(5) < 2 {
			row.Direction, row.FromNumber, row.ToNumber = "outbound", businessNumber, caller.number
		}
		if r.IntN(6) == 0 {
			row.PhoneNumber = nil
		}
		if missed := r.IntN(100); missed < 14 {
			row.Status = []string{"no-answer", "busy", "failed"}[missed%3]
			row.Duration, row.DurationSeconds, row.Cost, row.EndedAt = 0, 0, 0, formatTime(at.Add(20*time.Second))
			return row
		}
		topic := pick(r, topics)
		dialogue := inventDialogue(r, topic)
		seconds, spoken := 4, 0
		for _, line := range dialogue {
			seconds += 2 + len(line.text)/14
			if line.ai {
				spoken += len([]rune(line.text))
			}
		}
		row.EndedAt = formatTime(at.Add(time.Duration(seconds) * time.Second))
		row.Summary = topic.name + ": " + dialogue[0].text
		row.Transcript = transcript(r, dialogue)
		row.RecordingURL = fmt.Sprintf("https://recordings.example.com/%s.mp3", row.CallSID)
		row.Duration, row.DurationSeconds = seconds, seconds
		if r.IntN(12) == 0 {
			row.Duration, row.DurationSeconds = fmt.Sprintf("%dm %02ds", seconds/60, seconds%60), nil
		}
		stt, llm, tts := float64(seconds)*0.0001, float64(len(dialogue))*0.0006, float64(spoken)*0.000015
		row.Cost = json.Number(fmt.Sprintf("%.4f", stt+llm+tts))
		if r.IntN(40) == 0 {
			row.Cost = nil // not billed yet
		} else {
			row.Metadata["cost_breakdown"] = map[string]any{"stt": json.Number(fmt.Sprintf("%.4f", stt)),
				"llm": json.Number(fmt.Sprintf("%.4f", llm)), "tts": json.Number(fmt.Sprintf("%.4f", tts))}
		}
		row.Metadata["topic"] = topic.name
		row.STTMinutes, row.TTSCharacters = json.Number(fmt.Sprintf("%.2f", float64(seconds)/60)), spoken
		return row
	})
}

// transcript returns the dialogue in a random one of the formats of transcripts.
func transcript(r *rand.Rand, dialogue []utterance) any {
	turns := make([]map[string]any, len(dialogue))
	at := 0
	kind := r.IntN(10)
	text := ""
	for i, l := range dialogue {
		speaker, role := "Caller", "user"
		if l.ai {
			speaker, role = "AI", "assistant"
		}
		switch {
		case kind < 6:
			turns[i] = map[string]any{"speaker": speaker, "text": l.text}
		case kind < 7:
			turns[i] = map[string]any{"role": role, "content": l.text}
		case kind < 8:
			turns[i] = map[string]any{"role": role, "message": l.text, "timestamp_ms": at}
		}
		if speaker == "AI" {
			speaker = "Assistant"
		}
		if i > 0 {
			text += "\n"
		}
		text += speaker + ": " + l.text
		at += 1500 + 70*len(l.text)
	}
	if kind < 8 {
		return turns
	}
	return text
}

type messageRow struct {
	Tenant      uuid.UUID      `json:"user_id"`
	ID          uuid.UUID      `json:"id"`
	Direction   string         `json:"direction"`
	Content     map[string]any `json:"content"`
	Type        string         `json:"message_type"`
	FromNumber  string         `json:"from_number"`
	ToNumber    string         `json:"to_number"`
	Status      string         `json:"status"`
	IsFromBot   bool           `json:"is_from_bot"`
	DeliveredAt any            `json:"delivered_at"`
	ReadAt      any            `json:"read_at"`
	CreatedAt   string         `json:"created_at"`
	CustomerID  any            `json:"customer_id"`
	AssistantID any            `json:"assistant_id"`
	WAMessageID string         `json:"wa_message_id"`
}

// WriteMessages writes the messages as NDJSON, oldest first.
func (t Tenant) WriteMessages(w io.Writer) error {
	return writeRows(w, t.Messages, func(i int) any {
		r := t.rand(seedMessage, i)
		at := t.timeOf(r, i, t.Messages)
		owner := t.randomCustomer(r)
		spoken := pick(r, inventDialogue(r, pick(r, topics)))
		row := messageRow{Tenant: t.ID, ID: t.id("message", i), Direction: "inbound", Type: "text",
			FromNumber: owner.number, ToNumber: businessNumber,
			Status: "received", Content: map[string]any{"text": map[string]any{"body": spoken.text}}, CreatedAt: formatTime(at),
			WAMessageID: fmt.Sprintf("wamid.%016X%016X", r.Uint64(), r.Uint64())}
		if t.Customers > 0 {
			row.CustomerID = owner.id
		}
		switch r.IntN(20) {
		case 0:
			row.Type, row.Content = "image", map[string]any{"mediaId": fmt.Sprintf("media-%d", i), "caption": spoken.text}
		case 1:
			row.Type, row.Content = "location", map[string]any{"latitude": 12.9, "longitude": 77.6}
		case 2:
			row.Type, row.Content = "sticker", map[string]any{}
		}
		if spoken.ai {
			row.Direction, row.FromNumber, row.ToNumber = "outbound", businessNumber, owner.number
			row.IsFromBot, row.AssistantID = r.IntN(10) > 0, t.id("assistant", r.IntN(4))
			row.Status = pick(r, []string{"sent", "delivered", "read", "read", "read", "failed"})
			if row.Status == "delivered" || row.Status == "read" && r.IntN(10) > 0 {
				row.DeliveredAt = formatTime(at.Add(2 * time.Second))
			}
			if row.Status == "read" {
				row.ReadAt = formatTime(at.Add(90 * time.Second))
			}
		}
		return row
	})
}
