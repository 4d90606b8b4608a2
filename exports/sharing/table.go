package sharing

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Format is a format of responses.
type Format string

// The formats of responses: Parquet describes the table and its files, and Delta has the actions of a Delta log.
const (
	Parquet Format = "parquet"
	Delta   Format = "delta"
)

// Hints are conditions of a client. A response may leave out files that have no row which satisfies them.
type Hints struct {
	SQL   []string // predicates, which must all be true
	JSON  string   // predicate; "": none
	Limit *int64   // rows that the client reads at most; nil: all
}

// A Response describes a snapshot of a table. Its lines are JSON.
type Response struct {
	Table    *iceberg.Table
	Snapshot iceberg.Snapshot
	Format   Format
	Pinned   bool // the client has requested this version, so that the lines name it
}

type protocol struct {
	MinReader int `json:"minReaderVersion"`
	MinWriter int `json:"minWriterVersion,omitempty"`
}

type provider struct {
	Name    string             `json:"provider"`
	Options *map[string]string `json:"options,omitempty"`
}

type tableMetadata struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Description      string            `json:"description"`
	Format           provider          `json:"format"`
	SchemaString     string            `json:"schemaString"`
	PartitionColumns []string          `json:"partitionColumns"`
	Configuration    map[string]string `json:"configuration"`
}

type snapshotMetadata struct {
	*tableMetadata
	Delta       *tableMetadata `json:"deltaMetadata,omitempty"`
	Version     *int64         `json:"version,omitempty"`
	Bytes       int64          `json:"size"`
	Files       int            `json:"numFiles"`
	AccessModes []string       `json:"accessModes"`
}

// Metadata returns the lines of the protocol version and of the table.
func (r Response) Metadata() []byte {
	table := &tableMetadata{ID: r.Table.ID().String(), Name: r.Table.Export.Name,
		Description: r.Table.Export.Description, Format: provider{Name: "parquet"},
		SchemaString: SchemaString(r.Table.Export), PartitionColumns: []string{}, Configuration: map[string]string{}}
	metadata := snapshotMetadata{tableMetadata: table, Version: r.version(), Files: len(r.Snapshot.Files),
		AccessModes: []string{"url"}}
	for _, f := range r.Snapshot.Files {
		metadata.Bytes += f.Bytes
	}
	version := any(protocol{MinReader: 1})
	if r.Format == Delta {
		version = map[string]any{"deltaProtocol": protocol{MinReader: 1, MinWriter: 2}}
		table.Format.Options = &map[string]string{}
		metadata.tableMetadata, metadata.Delta = nil, table
	}
	return append(line("protocol", version), line("metaData", metadata)...)
}

// version returns the version of the snapshot, or nil if the client did not request it.
func (r Response) version() *int64 {
	if !r.Pinned {
		return nil
	}
	return &r.Snapshot.ID
}

type fileLine struct {
	ID        string           `json:"id"`
	URL       string           `json:"url,omitempty"`
	Partition *struct{}        `json:"partitionValues,omitempty"`
	Bytes     int64            `json:"size"`
	Stats     string           `json:"stats,omitempty"`
	Version   *int64           `json:"version,omitempty"`
	Timestamp int64            `json:"timestamp,omitempty"` // milliseconds
	Expires   int64            `json:"expirationTimestamp"` // milliseconds
	Action    map[string]added `json:"deltaSingleAction,omitempty"`
}

// added is the action of the Delta log that adds a file.
type added struct {
	Path       string   `json:"path"`
	Partition  struct{} `json:"partitionValues"`
	Bytes      int64    `json:"size"`
	Modified   int64    `json:"modificationTime"` // milliseconds
	DataChange bool     `json:"dataChange"`
	Stats      string   `json:"stats"`
}

// Files returns the lines of the files that the hints do not leave out. sign returns the URL of a file and the time
// until which it is valid. Files returns ErrUnavailable if a file of the snapshot is damaged.
func (r Response) Files(ctx context.Context, tables *iceberg.Tables, hints Hints,
	sign func(name string) (url string, expires time.Time),
) ([]byte, error) {
	predicate, rows := hints.predicate(r.Table.Export), int64(0)
	var lines bytes.Buffer
	for _, f := range r.Snapshot.Files {
		if hints.Limit != nil && rows >= *hints.Limit {
			break
		}
		statistics, err := tables.Statistics(ctx, r.Table, f)
		if err != nil {
			return nil, fmt.Errorf("files of table %s: %w", r.Table.Export.Name, err)
		}
		ranges := rangesOf(r.Table.Export, statistics)
		found := predicate(ranges)
		if found&canBeTrue == 0 {
			continue
		}
		if found == canBeTrue { // rows that a predicate may refuse do not count towards the limit
			rows += f.Rows
		}
		url, expires := sign(f.Name)
		lines.Write(r.file(f, url, expires, statisticsText(f.Rows, ranges)))
	}
	return lines.Bytes(), nil
}

// file returns the line of a file.
func (r Response) file(f warehouse.TableFile, url string, expires time.Time, statistics string) []byte {
	of := fileLine{ID: f.SHA256, Bytes: f.Bytes, Version: r.version(), Expires: expires.UnixMilli()}
	if r.Pinned {
		of.Timestamp = r.Snapshot.At.UnixMilli()
	}
	if r.Format == Delta {
		of.Action = map[string]added{"add": {Path: url, Bytes: f.Bytes, Modified: f.PublishedAt.UnixMilli(),
			DataChange: true, Stats: statistics}}
	} else {
		of.URL, of.Partition, of.Stats = url, &struct{}{}, statistics
	}
	return line("file", of)
}

// predicate returns the conjunction of the hints. A hint that is not understood has an unknown outcome.
func (h Hints) predicate(export schema.Export) predicate {
	var predicates []predicate
	add := func(p predicate, ok bool) {
		if !ok {
			p = func(map[string]columnRange) outcomes { return unknown }
		}
		predicates = append(predicates, p)
	}
	for _, text := range h.SQL {
		add(parseSQL(text, export))
	}
	if h.JSON != "" {
		add(parseJSON(h.JSON, export))
	}
	return all(predicates)
}

// line returns a line of a response: an object with one field.
func line(name string, value any) []byte {
	return append(encode(map[string]any{name: value}), '\n')
}
