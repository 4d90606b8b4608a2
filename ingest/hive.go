package ingest

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// nullPartition is the name of the value NULL of a Hive partition column.
const nullPartition = "__HIVE_DEFAULT_PARTITION__"

// partitionsOf returns the folders of a path that are Hive partitions (column=value), as pairs of names and values. It
// also returns the folder of the table, which is the first other folder above the file. The table is "" if there are no
// partitions.
func partitionsOf(path string) (partitions [][2]string, table string) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		name, value, ok := strings.Cut(filepath.Base(dir), "=")
		if !ok || name == "" {
			if len(partitions) > 0 {
				table = filepath.Base(dir)
			}
			return partitions, table
		}
		if unescaped, err := url.PathUnescape(value); err == nil {
			value = unescaped
		}
		partitions = append(partitions, [2]string{name, value})
	}
}

// partitionMembers returns the Hive partition columns of a path that the dataset has, as members of a JSON object. A
// value that is empty or NULL is left out.
func partitionMembers(path string, dataset schema.Dataset) []byte {
	members := map[string]string{}
	partitions, _ := partitionsOf(path)
	for _, partition := range partitions {
		name, value := strings.ToLower(partition[0]), partition[1]
		if typ, _ := dataset.FieldType(name); typ != "" && value != "" && value != nullPartition {
			members[name] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	if len(members) == 0 {
		return nil
	}
	text, _ := json.Marshal(members) // cannot fail for strings
	return text[1 : len(text)-1]
}

// withMembers appends to buffer the JSON object text with further members. If members have the same name, the first one
// applies, which is the member of text. A text that is not an object is appended unchanged.
func withMembers(buffer, text, members []byte) []byte {
	text = trimLine(text)
	if !bytes.HasPrefix(text, []byte("{")) || !bytes.HasSuffix(text, []byte("}")) {
		return append(buffer, text...)
	}
	head := trimLine(text[:len(text)-1])
	buffer = append(buffer, head...)
	if len(head) > 1 {
		buffer = append(buffer, ',')
	}
	return append(append(buffer, members...), '}')
}
