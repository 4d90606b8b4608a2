package warehouse

import (
	"slices"
	"sync"

	"github.com/voicory/warehouse/warehouse/schema"
)

// An UnknownField is a field of incoming rows that their dataset does not have. Its values are not stored.
type UnknownField struct{ Dataset, Name string }

// String returns dataset.field.
func (f UnknownField) String() string { return f.Dataset + "." + f.Name }

// Bounds of the stored names of unknown fields. The names come from outside.
const (
	maxUnknown   = 50 // number of fields
	maxFieldName = 64 // runes of a name; the rest is cut off
)

// addUnknown returns fields with the names added that it does not contain, up to maxUnknown fields.
func addUnknown(fields []UnknownField, dataset schema.Dataset, names []string) []UnknownField {
	for _, name := range names {
		if runes := []rune(name); len(runes) > maxFieldName {
			name = string(runes[:maxFieldName]) + "…"
		}
		if field := (UnknownField{dataset.Name, name}); len(fields) < maxUnknown && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	return fields
}

// unknownFields collects the unknown fields of all rows since the start.
type unknownFields struct {
	mu     sync.Mutex // guards fields
	fields []UnknownField
}

func (u *unknownFields) add(fields []UnknownField) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, field := range fields {
		u.fields = addUnknown(u.fields, schema.Dataset{Name: field.Dataset}, []string{field.Name})
	}
}

// UnknownFields returns the unknown fields of rows since the start, at most the first 50.
func (w *Warehouse) UnknownFields() []UnknownField {
	w.unknown.mu.Lock()
	defer w.unknown.mu.Unlock()
	return slices.Clone(w.unknown.fields)
}
