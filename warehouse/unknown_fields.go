package warehouse

import (
	"slices"
	"sync"
)

// UnknownField is a field that rows came with and their dataset has not. It is not kept.
type UnknownField struct{ Dataset, Name string }

// String is dataset.field.
func (f UnknownField) String() string { return f.Dataset + "." + f.Name }

// Names come from outside: so many are remembered, and so much of each, in runes.
const (
	maxUnknown   = 50
	maxFieldName = 64
)

// addUnknown adds names that are not among the fields yet.
func addUnknown(fields []UnknownField, dataset Dataset, names []string) []UnknownField {
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

// unknownFields are those that came since the start.
type unknownFields struct {
	mu     sync.Mutex
	fields []UnknownField
}

func (u *unknownFields) add(fields []UnknownField) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, field := range fields {
		u.fields = addUnknown(u.fields, Dataset{Name: field.Dataset}, []string{field.Name})
	}
}

// UnknownFields lists the unknown fields that came since the start, the first 50 of them.
func (w *Warehouse) UnknownFields() []UnknownField {
	w.unknown.mu.Lock()
	defer w.unknown.mu.Unlock()
	return slices.Clone(w.unknown.fields)
}
