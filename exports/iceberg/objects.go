package iceberg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/voicory/warehouse/warehouse"
)

// An Object is metadata of a table that is stored, and not derived for each reader.
type Object struct {
	Key     string // relative to the location; ends with a digest of the content
	Content []byte
}

// Files returns the files of the table's current snapshot. ok is false if nothing was ever published.
func (t *Table) Files() (files []warehouse.TableFile, ok bool) {
	if len(t.snapshots) == 0 {
		return nil, false
	}
	return t.snapshots[len(t.snapshots)-1].files, true
}

// Objects returns the metadata of the table with its current snapshot only, in the order in which the objects refer to
// each other. The last one is the metadata of the table. The names contain digests of the contents, so that an object
// never changes.
func (t *Tables) Objects(ctx context.Context, table *Table) (objects []Object, err error) {
	add := func(prefix string, content []byte, suffix string) (key string) {
		sum := sha256.Sum256(content)
		key = metadataFolder + prefix + hex.EncodeToString(sum[:8]) + suffix
		objects = append(objects, Object{key, content})
		return key
	}
	var listed []listedSnapshot
	if len(table.snapshots) > 0 {
		s := table.snapshots[len(table.snapshots)-1]
		var manifests []manifestFile
		sum := summarize(s)
		if len(s.files) > 0 {
			of, err := t.statisticsOfAll(ctx, table, s)
			if err != nil {
				return nil, err
			}
			manifest := table.manifest(table.Tenant, s, of)
			url := table.Location + "/" + add("", manifest, "-m0.avro")
			manifests = append(manifests, manifestFile{url, len(manifest), s.id(), table.Tenant, sum})
		}
		list := add("snap-", table.list(s.id(), 0, manifests), ".avro")
		listed = append(listed, listedSnapshot{s.id(), 0, s.at, list, len(s.files), sum.rows, sum.bytes})
	}
	add(metadataVersion, table.metadata(table.ID(), listed), ".metadata.json")
	return objects, nil
}
