package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

var datasets = []string{"calls", "customers", "messages"}

// rowsPerDataset is the number of ids that a tenant has in a dataset. It is small, so that pushes meet the same rows.
const rowsPerDataset = 120

// A rowKey names a row.
type rowKey struct {
	tenant  uuid.UUID
	dataset string
	n       int
}

func (k rowKey) String() string { return fmt.Sprintf("%s of %s, row %d", k.dataset, k.tenant, k.n) }

var namespace = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

func (k rowKey) id() uuid.UUID {
	return uuid.NewSHA1(namespace, fmt.Appendf(nil, "%s/%s/%d", k.tenant, k.dataset, k.n))
}

// A value is the state of a row: its version, or that it does not exist. Versions grow over a whole history.
type value struct {
	version int64 // 0: the row has never existed
	deleted bool
}

func (v value) exists() bool { return v.version != 0 && !v.deleted }

// seen returns the part of the value that a reader can see.
func (v value) seen() int64 {
	if v.exists() {
		return v.version
	}
	return 0
}

const timeLayout = "2006-01-02T15:04:05.000Z"

func (k rowKey) created() string {
	return time.Date(2026, 3, 1+(k.n*37)%60, 10, k.n%60, 0, 0, time.UTC).Format(timeLayout)
}

func versionTime(version int64) string {
	return time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(version) * time.Second).Format(timeLayout)
}

var words = strings.Fields("table order parcel doctor Monday refund please thanks appointment street window morning " +
	"invoice")

// text returns a text that is determined by the mark.
func text(mark string) string {
	var seed [32]byte
	copy(seed[:], mark)
	random := rand.New(rand.NewChaCha8(seed))
	var b strings.Builder
	for range 24 {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

func (k rowKey) mark(version int64) string { return fmt.Sprintf("%s:%d:%d", k.dataset, k.n, version) }

// row returns the row as it is pushed. All of its fields hold the version, so that a reader notices a mix of versions.
func (k rowKey) row(v value) map[string]any {
	if v.deleted {
		return map[string]any{"id": k.id(), "deleted_at": versionTime(v.version)}
	}
	mark := k.mark(v.version)
	number := fmt.Sprintf("+49151%08d", k.n)
	switch k.dataset {
	case "calls":
		return map[string]any{
			"id": k.id(), "call_sid": mark, "summary": text(mark), "duration_seconds": v.version % 1000,
			"transcript": []any{map[string]any{"speaker": "Caller", "text": mark}},
			"metadata":   map[string]any{"v": v.version}, "from_number": number, "direction": "inbound",
			"created_at": k.created(), "updated_at": versionTime(v.version),
		}
	case "customers":
		return map[string]any{
			"id": k.id(), "name": mark, "phone_number": number, "interaction_count": v.version,
			"email": fmt.Sprintf("%d@example.com", k.n), "variables": map[string]any{"v": v.version, "text": text(mark)},
			"created_at": k.created(), "updated_at": versionTime(v.version),
		}
	default:
		return map[string]any{
			"id": k.id(), "from_number": number, "message_type": "text", "status": text(mark),
			"content": map[string]any{"text": map[string]any{"body": mark}}, "created_at": k.created(),
		}
	}
}

// versioned reports whether rows of the dataset carry the time of their version. The newest version wins then, and
// otherwise the one that arrived last.
func versioned(dataset string) bool { return dataset != "messages" }

// An item is a row as a reader gets it.
type item struct {
	ID              uuid.UUID       `json:"id"`
	Deleted         bool            `json:"deleted"`
	CallSID         string          `json:"call_sid"`
	Summary         string          `json:"summary"`
	DurationSeconds int64           `json:"duration_seconds"`
	Metadata        json.RawMessage `json:"metadata"`
	Transcript      json.RawMessage `json:"transcript"`
	Name            string          `json:"name"`
	Interactions    int64           `json:"interaction_count"`
	Variables       json.RawMessage `json:"variables"`
	Status          string          `json:"status"`
	Content         json.RawMessage `json:"content"`
	CreatedAt       string          `json:"created_at"`
}

// plain removes the quotes of JSON that is sent as a text.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// read returns the number and the version of a row, 0 if the row is deleted. It returns an error if fields are of
// different versions.
func (i *item) read(tenant uuid.UUID, dataset string, numbers map[uuid.UUID]rowKey) (rowKey, int64, error) {
	key, known := numbers[i.ID]
	if !known || key.tenant != tenant || key.dataset != dataset {
		return key, 0, fmt.Errorf("%s of %s have a row %s that nobody pushed (%s)", dataset, tenant, i.ID, key)
	}
	if i.Deleted {
		return key, 0, nil
	}
	var mark string
	var body struct {
		Text struct{ Body string }
	}
	switch dataset {
	case "calls":
		mark = i.CallSID
	case "customers":
		mark = i.Name
	default:
		if err := json.Unmarshal([]byte(plain(i.Content)), &body); err != nil {
			return key, 0, fmt.Errorf("%s: content %s: %w", key, i.Content, err)
		}
		mark = body.Text.Body
	}
	part := strings.Split(mark, ":")
	version, err := strconv.ParseInt(part[len(part)-1], 10, 64)
	if err != nil || mark != key.mark(version) {
		return key, 0, fmt.Errorf("%s: holds the fields of %q", key, mark)
	}
	var torn bool
	switch dataset {
	case "calls":
		torn = i.Summary != text(mark) || i.DurationSeconds != version%1000 ||
			plain(i.Metadata) != fmt.Sprintf(`{"v":%d}`, version) || !strings.Contains(string(i.Transcript), mark)
	case "customers":
		var variables struct {
			V    int64
			Text string
		}
		err := json.Unmarshal([]byte(plain(i.Variables)), &variables)
		torn = err != nil || i.Interactions != version || variables.V != version || variables.Text != text(mark)
	default:
		torn = i.Status != text(mark)
	}
	if torn || i.CreatedAt != key.created() {
		whole, _ := json.Marshal(i)
		return key, 0, fmt.Errorf("%s: mixes fields of several versions: %s", key, whole)
	}
	return key, version, nil
}
