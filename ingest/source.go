package ingest

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A Source is a system from which rows are pulled repeatedly.
type Source interface {
	// Name returns the key under which the state of the source is stored.
	Name() string
	// Pull calls take with portions of all rows that are new since state, and returns when it is up to date. state is
	// the State of the last portion that was merged, or nil at first. After take returns nil, the portion and its
	// State are durable. If take fails, Pull returns that error. Pull may pass the same rows again if it is called
	// with the same state.
	Pull(ctx context.Context, state json.RawMessage, take func(context.Context, Portion) error) error
}

// A Portion is a part of the rows of a pull, all of one dataset.
type Portion struct {
	// Files hold the rows, as a group of [Groups]; nil: use the fields below. The hashes of the files are stored with
	// their rows.
	Files   []Input
	Dataset schema.Dataset
	Tenant  uuid.UUID // owner of the rows; zero: each row names its tenant in user_id
	// Rows holds JSON objects with the fields of the dataset, one per line (NDJSON). A row with deleted_at is a
	// deletion. Rows is read once, before take returns.
	Rows io.Reader
	// Absent lists fields that these rows never have. A merge keeps the stored values of these fields.
	Absent []string
	// Inferred and MovedBefore are fields of the batches of the rows; see warehouse.Batch.
	Inferred    bool
	MovedBefore time.Time
	// State is stored after the portion is merged, as the start of the next pull. If it is nil, the stored state does
	// not change.
	State json.RawMessage
}
