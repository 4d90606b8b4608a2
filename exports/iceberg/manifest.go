package iceberg

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// The schemas of manifests and manifest lists, Iceberg format version 2. %s stands for the fields of the partition.
const (
	manifestSchema = `{"type":"record","name":"manifest_entry","fields":[` +
		`{"name":"status","type":"int","field-id":0},` +
		`{"name":"snapshot_id","type":["null","long"],"default":null,"field-id":1},` +
		`{"name":"sequence_number","type":["null","long"],"default":null,"field-id":3},` +
		`{"name":"file_sequence_number","type":["null","long"],"default":null,"field-id":4},` +
		`{"name":"data_file","field-id":2,"type":{"type":"record","name":"r2","fields":[` +
		`{"name":"content","type":"int","field-id":134},` +
		`{"name":"file_path","type":"string","field-id":100},` +
		`{"name":"file_format","type":"string","field-id":101},` +
		`{"name":"partition","field-id":102,"type":{"type":"record","name":"r102","fields":[%s]}},` +
		`{"name":"record_count","type":"long","field-id":103},` +
		`{"name":"file_size_in_bytes","type":"long","field-id":104},` +
		`{"name":"column_sizes","field-id":108,"default":null,` + mapOf117 + `},` +
		`{"name":"value_counts","field-id":109,"default":null,` + mapOf119 + `},` +
		`{"name":"null_value_counts","field-id":110,"default":null,` + mapOf121 + `},` +
		`{"name":"lower_bounds","field-id":125,"default":null,` + mapOf126 + `},` +
		`{"name":"upper_bounds","field-id":128,"default":null,` + mapOf129 + `},` +
		`{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":131},` +
		`{"name":"split_offsets","field-id":132,"default":null,` +
		`"type":["null",{"type":"array","items":"long","element-id":133}]},` +
		`{"name":"equality_ids","field-id":135,"default":null,` +
		`"type":["null",{"type":"array","items":"int","element-id":136}]},` +
		`{"name":"sort_order_id","type":["null","int"],"default":null,"field-id":140}]}}]}`

	mapOf117 = `"type":["null",{"type":"array","logicalType":"map","items":` +
		`{"type":"record","name":"k117_v118","fields":[` +
		`{"name":"key","type":"int","field-id":117},{"name":"value","type":"long","field-id":118}]}}]`
	mapOf119 = `"type":["null",{"type":"array","logicalType":"map","items":` +
		`{"type":"record","name":"k119_v120","fields":[` +
		`{"name":"key","type":"int","field-id":119},{"name":"value","type":"long","field-id":120}]}}]`
	mapOf121 = `"type":["null",{"type":"array","logicalType":"map","items":` +
		`{"type":"record","name":"k121_v122","fields":[` +
		`{"name":"key","type":"int","field-id":121},{"name":"value","type":"long","field-id":122}]}}]`
	mapOf126 = `"type":["null",{"type":"array","logicalType":"map","items":` +
		`{"type":"record","name":"k126_v127","fields":[` +
		`{"name":"key","type":"int","field-id":126},{"name":"value","type":"bytes","field-id":127}]}}]`
	mapOf129 = `"type":["null",{"type":"array","logicalType":"map","items":` +
		`{"type":"record","name":"k129_v130","fields":[` +
		`{"name":"key","type":"int","field-id":129},{"name":"value","type":"bytes","field-id":130}]}}]`

	manifestListSchema = `{"type":"record","name":"manifest_file","fields":[` +
		`{"name":"manifest_path","type":"string","field-id":500},` +
		`{"name":"manifest_length","type":"long","field-id":501},` +
		`{"name":"partition_spec_id","type":"int","field-id":502},` +
		`{"name":"content","type":"int","field-id":517},` +
		`{"name":"sequence_number","type":"long","field-id":515},` +
		`{"name":"min_sequence_number","type":"long","field-id":516},` +
		`{"name":"added_snapshot_id","type":"long","field-id":503},` +
		`{"name":"added_files_count","type":"int","field-id":504},` +
		`{"name":"existing_files_count","type":"int","field-id":505},` +
		`{"name":"deleted_files_count","type":"int","field-id":506},` +
		`{"name":"added_rows_count","type":"long","field-id":512},` +
		`{"name":"existing_rows_count","type":"long","field-id":513},` +
		`{"name":"deleted_rows_count","type":"long","field-id":514},` +
		`{"name":"partitions","field-id":507,"default":null,"type":["null",{"type":"array","element-id":508,` +
		`"items":{"type":"record","name":"r508","fields":[` +
		`{"name":"contains_null","type":"boolean","field-id":509},` +
		`{"name":"contains_nan","type":["null","boolean"],"default":null,"field-id":518},` +
		`{"name":"lower_bound","type":["null","bytes"],"default":null,"field-id":510},` +
		`{"name":"upper_bound","type":["null","bytes"],"default":null,"field-id":511}]}}]},` +
		`{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":519}]}`
)

// The status of a manifest entry.
const (
	statusExisting = 0
	statusAdded    = 1
)

// A manifestFile is a manifest as a manifest list describes it.
type manifestFile struct {
	url    string
	length int
	id     int64     // snapshot that added it
	tenant uuid.UUID // of the rows, in the table of all tenants
	snapshotSummary
}

// manifests returns the manifest and the manifest list of a snapshot. of[i] are the statistics of the snapshot's
// files[i]. A snapshot without files has no manifest.
func (t *Table) manifests(s snapshot, of []statistics) (manifest, list []byte) {
	var listed []manifestFile
	if len(s.files) > 0 {
		manifest = t.manifest(t.Tenant, s, of)
		listed = append(listed, manifestFile{t.Location + "/" + t.manifestKey(s.id()), len(manifest), s.id(), t.Tenant,
			summarize(s)})
	}
	return manifest, t.list(s.id(), s.parent, listed)
}

// list returns the manifest list of a snapshot. id and parent are the identifiers of the snapshot and of its parent.
// parent is 0 if the parent is not listed.
func (l *layout) list(id, parent int64, manifests []manifestFile) []byte {
	var records avroWriter
	for _, m := range manifests {
		records.text([]byte(m.url))
		records.long(int64(m.length))
		records.long(0) // partition spec
		records.long(0) // data
		records.long(m.id)
		records.long(m.oldest)
		records.long(m.id)
		records.long(m.addedFiles)
		records.long(m.files - m.addedFiles)
		records.long(0) // deleted files
		records.long(m.addedRows)
		records.long(m.rows - m.addedRows)
		records.long(0) // deleted rows
		records.list(len(l.partition), func(i int) {
			records.boolean(false) // contains null
			records.long(isNull)   // contains NaN
			lower, upper := []byte(m.tenant.String()), []byte(m.tenant.String())
			if !l.partition[i].isTenant() {
				lower = binary.LittleEndian.AppendUint32(nil, uint32(m.firstMonth))
				upper = binary.LittleEndian.AppendUint32(nil, uint32(m.lastMonth))
			}
			for _, bound := range [][]byte{lower, upper} {
				records.long(isValue)
				records.text(bound)
			}
		})
		records.long(isNull) // key metadata
	}
	before := "null"
	if parent != 0 {
		before = strconv.FormatInt(parent, 10)
	}
	properties := []string{"snapshot-id", strconv.FormatInt(id, 10), "parent-snapshot-id", before,
		"sequence-number", strconv.FormatInt(id, 10), "format-version", "2"}
	return avroFile(manifestListSchema, properties, len(manifests), records.Bytes())
}

// manifest returns the manifest with the files of a tenant's snapshot.
func (l *layout) manifest(tenant uuid.UUID, s snapshot, of []statistics) []byte {
	fields := make([]string, len(l.partition))
	for i, p := range l.partition {
		typ := "int"
		if p.isTenant() {
			typ = "string"
		}
		fields[i] = fmt.Sprintf(`{"name":%q,"type":["null",%q],"default":null,"field-id":%d}`, p.Name, typ, p.ID)
	}
	var records avroWriter
	for i, f := range s.files {
		records.entry(l, tenant, s, f, of[i])
	}
	properties := []string{"schema", string(encode(l.schema)), "schema-id", "0",
		"partition-spec", string(encode(l.partition)), "partition-spec-id", "0", "format-version", "2", "content", "data"}
	return avroFile(fmt.Sprintf(manifestSchema, strings.Join(fields, ",")), properties, len(s.files), records.Bytes())
}

// entry writes the manifest entry of a tenant's file.
func (w *avroWriter) entry(l *layout, tenant uuid.UUID, s snapshot, f warehouse.TableFile, of statistics) {
	added, status := f.PublishedAt.UnixMicro(), int64(statusExisting)
	if added == s.id() {
		status = statusAdded
	}
	w.long(status)
	for range 3 { // snapshot, sequence number, and sequence number of the file
		w.long(isValue)
		w.long(added)
	}
	w.long(0) // data
	w.text([]byte(l.Location + "/" + l.dataKey(tenant, f.Name)))
	w.text([]byte("PARQUET"))
	for _, p := range l.partition {
		w.long(isValue)
		if p.isTenant() {
			w.text([]byte(tenant.String()))
		} else {
			w.long(int64(monthNumber(f)))
		}
	}
	w.long(f.Rows)
	w.long(f.Bytes)
	for _, numbers := range [][]columnStatistic[int64]{of.sizes, of.values, of.nulls} {
		w.list(len(numbers), func(i int) {
			w.long(int64(numbers[i].id))
			w.long(numbers[i].value)
		})
	}
	for _, bounds := range [][]columnStatistic[[]byte]{of.lower, of.upper} {
		w.list(len(bounds), func(i int) {
			w.long(int64(bounds[i].id))
			w.text(bounds[i].value)
		})
	}
	w.long(isNull) // key metadata
	w.list(len(of.offsets), func(i int) { w.long(of.offsets[i]) })
	w.long(isNull) // equality ids
	w.long(isNull) // sort order
}

// monthNumber returns the value of the partition field for a file: months since January 1970.
func monthNumber(f warehouse.TableFile) int32 {
	at, err := time.Parse("2006-01", f.Month)
	if err != nil {
		panic(err) // the manifest has the months of partitions only
	}
	return int32((at.Year()-1970)*12 + int(at.Month()) - 1)
}

// snapshotSummary holds totals of a snapshot's files.
type snapshotSummary struct {
	files, rows, bytes    int64
	addedFiles, addedRows int64
	oldest                int64 // least sequence number of a file
	firstMonth, lastMonth int32 // least and largest partition value; 0 if the table has no partitions
}

func summarize(s snapshot) (sum snapshotSummary) {
	sum.oldest, sum.files = s.id(), int64(len(s.files))
	for i, f := range s.files {
		sum.rows += f.Rows
		sum.bytes += f.Bytes
		sum.oldest = min(sum.oldest, f.PublishedAt.UnixMicro())
		if f.PublishedAt.UnixMicro() == s.id() {
			sum.addedFiles++
			sum.addedRows += f.Rows
		}
		if f.Month == "" {
			continue
		}
		month := monthNumber(f)
		if i == 0 {
			sum.firstMonth, sum.lastMonth = month, month
		}
		sum.firstMonth, sum.lastMonth = min(sum.firstMonth, month), max(sum.lastMonth, month)
	}
	return sum
}
