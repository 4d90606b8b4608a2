package ingest

import (
	"context"
	"encoding/json"
	"io"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// Source is where rows come from, again and again.
type Source interface {
	// Name is what the source's state is kept under.
	Name() string
	// Pull gives take all that is new since state, portion by portion, and returns when it is up to date. state is the State of
	// the last portion that was taken, nil at first. A portion that take has returned nil for is durable, its State with it; when
	// take fails, Pull ends with that error. A source that is asked again with the same state may give the same rows again.
	Pull(ctx context.Context, state json.RawMessage, take func(context.Context, Portion) error) error
}

// Portion is a number of rows of one dataset.
type Portion struct {
	File    *Input // a file of rows; nil: the rows are in the fields below it
	Dataset warehouse.Dataset
	Tenant  uuid.UUID // whose rows these are; zero: each row names its tenant in user_id
	// Rows are lines of JSON objects (NDJSON), with the fields of the dataset; a row with deleted_at is one that the source has
	// deleted. They are read once, before take returns.
	Rows io.Reader
	// Absent are fields that this portion's rows never have: what is known of them already stays.
	Absent []string
	// State is where to go on once this portion is merged; nil: where the last one said.
	State json.RawMessage
}
