package duckdb_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// TestMendTornBlocks_PowerCutDuringCheckpoint interrupts checkpoints before they write the header, and then takes back
// some of the pages that they have written. Some of these databases cannot be opened before their blocks are mended.
// All have every row afterwards. Each round begins with one more completed checkpoint.
func TestMendTornBlocks_PowerCutDuringCheckpoint(t *testing.T) {
	t.Parallel()
	const rounds, cuts, page = 4, 6, 4096
	unreadable := 0
	for _, blockBytes := range []int{16384, 65536} {
		for round := range rounds {
			path := filepath.Join(t.TempDir(), "cut.duckdb")
			statements := []string{fmt.Sprintf("ATTACH '%s' AS db (STORAGE_VERSION 'v1.5.0', BLOCK_SIZE %d)", path, blockBytes),
				"USE db", "CREATE TABLE t (n BIGINT PRIMARY KEY, text VARCHAR)", "CREATE TABLE gone (n BIGINT)",
				"INSERT INTO gone FROM range(5000)", "CHECKPOINT", "DROP TABLE gone"}
			for n := range round {
				statements = append(statements, insertRows(n), "CHECKPOINT")
			}
			db := execute(t, "", append(statements, insertRows(round))...)
			before := readFile(t, path)
			if _, err := db.ExecContext(t.Context(), "SET debug_checkpoint_abort = 'after_free_list_write'"); err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), "CHECKPOINT"); err == nil {
				t.Fatal("the checkpoint was not interrupted")
			}
			after, log := readFile(t, path), readFile(t, path+".wal")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			for seed := range uint64(cuts) {
				random, cut := rand.New(rand.NewPCG(uint64(round), seed)), bytes.Clone(after)
				for at := 0; at < len(before); at += page {
					if random.IntN(2) == 0 {
						copy(cut[at:at+page], before[at:])
					}
				}
				if _, err := countRows(t, cut, log); err != nil {
					unreadable++
				}
				file := memoryFile(cut)
				if _, err := duckdb.MendTornBlocks(file, readLog(t, log)); err != nil {
					t.Fatal(err)
				}
				rows, err := countRows(t, file, log)
				if err != nil || rows != (round+1)*rowsOfInsert {
					t.Errorf("blocks of %d bytes, round %d, seed %d: got %d rows, %v, want %d", blockBytes, round, seed, rows, err,
						(round+1)*rowsOfInsert)
				}
			}
		}
	}
	if unreadable == 0 {
		t.Error("no database needed mending")
	}
}

// TestTornBlocks_OtherDamageIsNotMended requires that no damage is mended if no checkpoint was interrupted, and that
// only metadata is mended after an interrupted checkpoint.
func TestTornBlocks_OtherDamageIsNotMended(t *testing.T) {
	t.Parallel()
	const blockBytes = 16384
	path := filepath.Join(t.TempDir(), "damaged.duckdb")
	db := execute(t, "", fmt.Sprintf("ATTACH '%s' AS db (STORAGE_VERSION 'v1.5.0', BLOCK_SIZE %d)", path, blockBytes),
		"USE db", "CREATE TABLE t (n BIGINT PRIMARY KEY, text VARCHAR)", insertRows(0), "CHECKPOINT", insertRows(1),
		"CHECKPOINT", insertRows(2))
	defer db.Close()
	file, log := readFile(t, path), readFile(t, path+".wal")
	metadata := map[int64]bool{}
	rows, err := db.QueryContext(t.Context(), "SELECT block_id FROM pragma_metadata_info('db')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var block int64
		if err := rows.Scan(&block); err != nil {
			t.Fatal(err)
		}
		metadata[duckdb.HeadersBytes+block*blockBytes] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	other := uint64(1) // no checkpoint of the file has its metadata there
	torn := 0
	for at := int64(duckdb.HeadersBytes); at < int64(len(file)); at += blockBytes {
		damaged := bytes.Clone(file)
		damaged[at+blockBytes/2] ^= 4
		for _, wal := range []duckdb.WAL{readLog(t, log), {Checkpoint: &other}} {
			found, err := duckdb.TornBlocks(bytes.NewReader(damaged), wal)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case len(found) == 0:
			case wal.Checkpoint == nil || !metadata[at] || found[0] != at:
				t.Errorf("damage at %d, checkpoint %v: got torn blocks at %v", at, wal.Checkpoint, found)
			default:
				torn++
			}
		}
	}
	if torn == 0 {
		t.Error("no block of metadata was torn")
	}
}

const rowsOfInsert = 700

// insertRows returns a statement that inserts rows with new numbers.
func insertRows(n int) string {
	return fmt.Sprintf("INSERT INTO t SELECT i, md5(i::VARCHAR) FROM range(%d, %d) AS r(i)", n*rowsOfInsert,
		(n+1)*rowsOfInsert)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readLog(t *testing.T, log []byte) duckdb.WAL {
	t.Helper()
	wal, err := duckdb.ReadWAL(bytes.NewReader(log), int64(len(log)))
	if err != nil || wal.Fault != "" {
		t.Fatalf("got %+v, %v, want a sound log", wal, err)
	}
	return wal
}

// countRows opens a database with a log, and returns the number of rows of the table t. It reads all of their columns.
func countRows(t *testing.T, file, log []byte) (rows int, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "opened.duckdb")
	for name, content := range map[string][]byte{path: file, path + ".wal": log} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	connector, err := driver.NewConnector(path, nil)
	if err != nil {
		return 0, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM t WHERE text = md5(n::VARCHAR)").Scan(&rows)
	return rows, err
}

// A memoryFile is a file in memory that does not grow.
type memoryFile []byte

func (f memoryFile) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(f).ReadAt(p, at) }

func (f memoryFile) WriteAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > int64(len(f)) {
		return 0, io.ErrShortWrite
	}
	return copy(f[at:], p), nil
}
