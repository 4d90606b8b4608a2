package iceberg

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// DataFolder and metadataFolder are the prefixes of the keys of a table's objects, relative to its location.
const (
	DataFolder     = "data/"
	metadataFolder = "metadata/"
)

// encoding is part of the names of metadata. It is increased if a version of this program encodes manifests in another
// way, because readers keep the content and the length of manifests under their names.
const encoding = "1"

// layout holds the properties of a table that do not change with its files.
type layout struct {
	Export   schema.Export
	Location string // URL that the files and metadata of the table are below

	schema    tableSchema
	partition []partitionField
	version   string // part of the names of metadata: a digest of the schema and the encoding
}

func newLayout(export schema.Export, location string, s tableSchema, partition []partitionField) layout {
	sum := sha256.Sum256(append([]byte(encoding+location), encode(s)...))
	return layout{Export: export, Location: location, schema: s, partition: partition,
		version: hex.EncodeToString(sum[:4])}
}

// A Table is an export of a tenant with its history at one time.
type Table struct {
	layout
	Tenant uuid.UUID

	snapshots []snapshot // oldest first; the last one is current
}

// NewTable returns the table of a tenant's export with the files that [warehouse.Warehouse.TableFiles] returned, as it
// is at the time now.
func NewTable(tenant uuid.UUID, export schema.Export, location string, files []warehouse.TableFile,
	now time.Time,
) *Table {
	return &Table{layout: newLayout(export, location, schemaOf(export), partitionOf(export)), Tenant: tenant,
		snapshots: historyOf(files, now)}
}

// current returns the identifier of the current snapshot, or 0 without a snapshot.
func (t *Table) current() int64 {
	if len(t.snapshots) == 0 {
		return 0
	}
	return t.snapshots[len(t.snapshots)-1].id()
}

// find returns the snapshot with the identifier. ok is false if it is not listed.
func (t *Table) find(id int64) (_ snapshot, ok bool) {
	i := slices.IndexFunc(t.snapshots, func(s snapshot) bool { return s.id() == id })
	if i < 0 {
		return snapshot{}, false
	}
	return t.snapshots[i], true
}

// The keys of metadata, relative to the location: the metadata of the table whose current snapshot has the identifier,
// its manifest list, and its manifest.
func (l *layout) metadataKey(id int64) string {
	return fmt.Sprintf("%s%s%d-%s.metadata.json", metadataFolder, metadataVersion, id, l.version)
}

func (l *layout) listKey(id int64) string {
	return fmt.Sprintf("%ssnap-%d-%s.avro", metadataFolder, id, l.version)
}

func (l *layout) manifestKey(id int64) string {
	return fmt.Sprintf("%s%d-%s-m0.avro", metadataFolder, id, l.version)
}

// dataKey returns the key of a tenant's data file, relative to the location. The table of all tenants has a folder for
// each.
func (l *layout) dataKey(tenant uuid.UUID, name string) string {
	if len(l.partition) > 0 && l.partition[0].isTenant() {
		return DataFolder + tenant.String() + "/" + name
	}
	return DataFolder + name
}

// metadataVersion begins the names of metadata. ClickHouse requires a number of 32 bits there.
const metadataVersion = "00000-"

// snapshotOf returns the identifier of the snapshot in a key of metadata. It returns 0 if the key has no number.
func snapshotOf(key string) int64 {
	name := strings.TrimPrefix(key, metadataFolder)
	for _, prefix := range []string{metadataVersion, "snap-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	digits, _, _ := strings.Cut(name, "-")
	id, _ := strconv.ParseInt(digits, 10, 64) // 0 if it is not a number
	return id
}

// MetadataLocation returns the URL of the table's metadata.
func (t *Table) MetadataLocation() string { return t.Location + "/" + t.metadataKey(t.current()) }

// HasFile reports whether a listed snapshot contains the file with the name.
func (t *Table) HasFile(name string) bool {
	return slices.ContainsFunc(t.snapshots, func(s snapshot) bool {
		return slices.ContainsFunc(s.files, func(f warehouse.TableFile) bool { return f.Name == name })
	})
}

// Size returns the number and the bytes of the current files.
func (t *Table) Size() (files int, bytes int64) {
	if len(t.snapshots) == 0 {
		return 0, 0
	}
	last := t.snapshots[len(t.snapshots)-1]
	return len(last.files), summarize(last).bytes
}

type metadata struct {
	FormatVersion      int                `json:"format-version"`
	TableUUID          uuid.UUID          `json:"table-uuid"`
	Location           string             `json:"location"`
	LastSequenceNumber int64              `json:"last-sequence-number"`
	LastUpdatedMS      int64              `json:"last-updated-ms"`
	LastColumnID       int                `json:"last-column-id"`
	Schemas            []tableSchema      `json:"schemas"`
	CurrentSchemaID    int                `json:"current-schema-id"`
	PartitionSpecs     []partitionSpec    `json:"partition-specs"`
	DefaultSpecID      int                `json:"default-spec-id"`
	LastPartitionID    int                `json:"last-partition-id"`
	Properties         map[string]string  `json:"properties"`
	CurrentSnapshotID  int64              `json:"current-snapshot-id"`
	Snapshots          []snapshotMetadata `json:"snapshots"`
	SnapshotLog        []logEntry         `json:"snapshot-log"`
	MetadataLog        []logEntry         `json:"metadata-log"`
	SortOrders         []sortOrder        `json:"sort-orders"`
	DefaultSortOrderID int                `json:"default-sort-order-id"`
	Refs               map[string]ref     `json:"refs"`
}

type partitionSpec struct {
	ID     int              `json:"spec-id"`
	Fields []partitionField `json:"fields"`
}

type snapshotMetadata struct {
	ID             int64             `json:"snapshot-id"`
	Parent         int64             `json:"parent-snapshot-id,omitempty"`
	SequenceNumber int64             `json:"sequence-number"`
	TimestampMS    int64             `json:"timestamp-ms"`
	Summary        map[string]string `json:"summary"`
	ManifestList   string            `json:"manifest-list"`
	SchemaID       int               `json:"schema-id"`
}

type logEntry struct {
	TimestampMS int64 `json:"timestamp-ms"`
	SnapshotID  int64 `json:"snapshot-id"`
}

type sortOrder struct {
	ID     int        `json:"order-id"`
	Fields []struct{} `json:"fields"`
}

type ref struct {
	SnapshotID int64  `json:"snapshot-id"`
	Type       string `json:"type"`
}

// noSnapshot stands for the current snapshot of a table that has none.
const noSnapshot = -1

// Metadata returns the table's metadata as JSON. If currentOnly is true, it lists no other snapshot than the current
// one.
func (t *Table) Metadata(currentOnly bool) []byte {
	snapshots := t.snapshots
	if currentOnly && len(snapshots) > 1 {
		snapshots = snapshots[len(snapshots)-1:]
	}
	return t.metadataOf(snapshots)
}

// metadataOf returns the metadata of the table whose history ends with the last of the given snapshots.
func (t *Table) metadataOf(snapshots []snapshot) []byte {
	listed := make([]listedSnapshot, len(snapshots))
	for i, s := range snapshots {
		sum := summarize(s)
		listed[i] = listedSnapshot{s.id(), s.parent, s.at, t.listKey(s.id()), len(s.files), sum.rows, sum.bytes}
	}
	return t.metadata(t.ID(), listed)
}

// listedSnapshot is a snapshot as the metadata of its table describes it.
type listedSnapshot struct {
	id, parent  int64 // parent is 0 if it is not listed
	at          time.Time
	list        string // key of the manifest list
	files       int
	rows, bytes int64
}

// metadata returns the metadata of the table whose history ends with the last of the given snapshots.
func (l *layout) metadata(id uuid.UUID, snapshots []listedSnapshot) []byte {
	m := metadata{
		FormatVersion: 2, TableUUID: id, Location: l.Location,
		LastColumnID: l.schema.largestID(), Schemas: []tableSchema{l.schema},
		PartitionSpecs: []partitionSpec{{Fields: l.partition}}, LastPartitionID: partitionID - 1 + len(l.partition),
		Properties:        map[string]string{"comment": l.Export.Description},
		CurrentSnapshotID: noSnapshot, Snapshots: []snapshotMetadata{}, SnapshotLog: []logEntry{},
		MetadataLog: []logEntry{}, SortOrders: []sortOrder{{Fields: []struct{}{}}}, Refs: map[string]ref{},
	}
	for _, s := range snapshots {
		m.Snapshots = append(m.Snapshots, snapshotMetadata{
			ID: s.id, Parent: s.parent, SequenceNumber: s.id, TimestampMS: s.at.UnixMilli(),
			ManifestList: l.Location + "/" + s.list,
			Summary: map[string]string{
				// A publication rewrites files, so readers of appended rows must not take its files for new rows.
				"operation":        "overwrite",
				"total-data-files": strconv.Itoa(s.files), "total-records": strconv.FormatInt(s.rows, 10),
				"total-files-size": strconv.FormatInt(s.bytes, 10), "total-delete-files": "0",
				"total-position-deletes": "0", "total-equality-deletes": "0",
			},
		})
		m.SnapshotLog = append(m.SnapshotLog, logEntry{s.at.UnixMilli(), s.id})
		m.CurrentSnapshotID, m.LastSequenceNumber, m.LastUpdatedMS = s.id, s.id, s.at.UnixMilli()
		m.Refs = map[string]ref{"main": {s.id, "branch"}}
	}
	return encode(m)
}
