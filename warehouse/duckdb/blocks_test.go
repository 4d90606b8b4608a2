package duckdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// TestCheckBlocks_FindsEveryFlippedBit flips bits of each header and block of a database with tables, long texts, an
// index and free blocks. A flipped bit is found, except in a free block, where it changes no row and no insert.
func TestCheckBlocks_FindsEveryFlippedBit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "sound.duckdb")
	db := execute(t, "", "ATTACH '"+path+"' AS db (STORAGE_VERSION 'v1.5.0', BLOCK_SIZE 16384)", "USE db",
		"CREATE TABLE keys (id VARCHAR PRIMARY KEY, text VARCHAR)",
		"CREATE TABLE gone (id BIGINT PRIMARY KEY, text VARCHAR)",
		"INSERT INTO keys SELECT 'key ' || i, repeat(md5(i::VARCHAR), 9) FROM range(300) AS r(i)",
		"INSERT INTO gone SELECT i, repeat(md5(i::VARCHAR), 40) FROM range(200) AS r(i)",
		"INSERT INTO keys SELECT 'long ' || i, repeat(md5(i::VARCHAR), 2000) FROM range(2) AS r(i)",
		"CHECKPOINT", "DROP TABLE gone", "CHECKPOINT", "UPDATE keys SET text = 'x' WHERE id = 'key 3'", "CHECKPOINT")
	var free, blocks, blockBytes int
	err := db.QueryRowContext(t.Context(), "SELECT free_blocks, total_blocks, block_size FROM pragma_database_size() "+
		"WHERE database_name = 'db'").Scan(&free, &blocks, &blockBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(file []byte) []duckdb.DamagedBlock {
		t.Helper()
		damaged, err := duckdb.CheckBlocks(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		return damaged
	}
	if damaged := check(sound); len(damaged) > 0 {
		t.Fatalf("sound file: got %+v", damaged)
	}
	want := fingerprintOf(t, path)
	const headers = 3 * 4096
	harmless := 0
	for start, size := 0, 4096; start < len(sound); start += size {
		if start >= headers {
			size = blockBytes
		}
		found := 0
		places := []int{0, 9, size / 3, size - 1}
		for i, place := range places {
			file := bytes.Clone(sound)
			file[start+place] ^= 1 << (2*i + start/size%2)
			damaged := check(file)
			switch {
			case len(damaged) == 1 && damaged[0].At == int64(start):
				found++
			case len(damaged) > 0:
				t.Errorf("bit of byte %d flipped: got %+v, want byte %d", start+place, damaged, start)
			case i == 0:
				changed := filepath.Join(dir, "changed.duckdb")
				if err := os.WriteFile(changed, file, 0o600); err != nil {
					t.Fatal(err)
				}
				if got := fingerprintOf(t, changed); got != want {
					t.Errorf("bit of byte %d flipped: rows are %s, want %s", start+place, got, want)
				}
			}
		}
		if found == 0 {
			harmless++
		} else if found < len(places) {
			t.Errorf("block at %d: got %d of %d flipped bits", start, found, len(places))
		}
	}
	if harmless != free || free == 0 {
		t.Errorf("got %d blocks without a finding, want the %d free ones of %d", harmless, free, blocks)
	}
	if damaged := check(sound[:len(sound)-100]); len(damaged) != 1 {
		t.Errorf("file without its end: got %+v, want one block", damaged)
	}
	if damaged := check(sound[:5000]); len(damaged) != 2 {
		t.Errorf("file without its headers: got %+v, want two", damaged)
	}
}

// fingerprintOf inserts a row into the table of a database, and returns a hash of all rows.
func fingerprintOf(t *testing.T, path string) (hash string) {
	t.Helper()
	connector, err := driver.NewConnector(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), "INSERT INTO keys VALUES ('new', 'row')"); err != nil {
		t.Error(err)
	}
	row := db.QueryRowContext(context.Background(), "SELECT sum(hash(k))::VARCHAR FROM keys AS k")
	if err := row.Scan(&hash); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(hash)
}
