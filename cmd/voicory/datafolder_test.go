package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mixedCalls returns n valid calls of three months, which are published as several files, and one invalid call.
func mixedCalls(from, n int) string {
	var text strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&text, `{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-%02d-01T10:00:00Z"}`+"\n",
			someTenant, i, 1+i%3)
	}
	return text.String() + `{"user_id":"` + someTenant + `","id":"refused ` + strconv.Itoa(from) +
		`","created_at":"2026-03-01T10:00:00Z"}` + "\n"
}

// underUmask returns a command that runs the program in a process with the umask.
func underUmask(t *testing.T, umask, stdin string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask "$1"; shift; exec "$0" "$@"`,
		os.Args[0], umask}, args...)...)
	command.Env = append(os.Environ(), runAsProgram+"=yes")
	command.Stdin = strings.NewReader(stdin)
	return command
}

func wantUnderUmask(t *testing.T, umask, stdin string, args ...string) {
	t.Helper()
	out, err := underUmask(t, umask, stdin, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// wantModes walks a data folder and compares every mode with the layout.
func wantModes(t *testing.T, data string, root, lakeDir, lakeFile fs.FileMode) (visited []string) {
	t.Helper()
	noError(t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // a temporary file of the running server
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(data, path)
		want := fs.FileMode(0o600)
		switch part, _, _ := strings.Cut(name, "/"); {
		case name == ".":
			want = root
		case part == "lake" && entry.IsDir():
			want = lakeDir
		case part == "lake", part == "published" && !entry.IsDir():
			want = lakeFile
		case entry.IsDir():
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s: got %o, want %o", name, got, want)
		}
		visited = append(visited, name)
		return nil
	}))
	return visited
}

// Every file of a data folder has the mode of the layout, whether the umask would leave it too wide or narrow it: in a
// folder in use, in a folder with the logs of a killed server, and in a folder with replaced files.
func TestDataFolder_ModesUnderEveryUmask(t *testing.T) {
	for _, test := range []struct {
		mode, umask string
		want        [3]fs.FileMode // of the root, and of the folders and files of the lake
	}{
		{"", "000", [3]fs.FileMode{0o700, 0o700, 0o600}}, {"group", "022", [3]fs.FileMode{0o710, 0o750, 0o640}},
		{"world", "077", [3]fs.FileMode{0o711, 0o755, 0o644}},
	} {
		mode, umask, want := test.mode, test.umask, test.want
		t.Run(umask+mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			var flags []string
			if mode != "" {
				flags = []string{"--lake-mode", mode}
			}
			check := func(names ...string) {
				t.Helper()
				visited := strings.Join(wantModes(t, data, want[0], want[1], want[2]), "\n") + "\n"
				for _, name := range names {
					if !strings.Contains(visited, name+"\n") {
						t.Errorf("no %s in\n%s", name, visited)
					}
				}
			}
			wantUnderUmask(t, umask, mixedCalls(0, 9), append(flags, "ingest", "--data", data, "--dataset", "calls", "-")...)
			check("voicory.json", "signing.key", "control.duckdb", "warehouse/"+someTenant+".duckdb")

			server := underUmask(t, umask, "", "serve", "--data", data, "--listen", "127.0.0.1:0")
			var log bytes.Buffer
			server.Stdout, server.Stderr = &log, &log
			noError(t, server.Start())
			stopped := false
			defer func() {
				if !stopped {
					_ = server.Process.Kill()
					_ = server.Wait()
				}
			}()
			socket := filepath.Join(data, "voicory.sock")
			until(t, "a socket", func() bool { _, err := os.Stat(socket); return err == nil })
			// The server does what these commands ask for, so their own umask does not matter.
			mustRun(t, mixedCalls(5, 9), "ingest", "--data", data, "--dataset", "calls", "-") // replaces files
			mustRun(t, "", "query", "--data", data, "--tenant", someTenant, "--allow-unsandboxed-sql",
				"SELECT count(*) FROM calls")
			check("voicory.sock", "warehouse/"+someTenant+".duckdb.wal", "published/replaced/"+someTenant)
			noError(t, server.Process.Kill())
			_ = server.Wait() // killed
			stopped = true
			check("warehouse/" + someTenant + ".duckdb.wal")

			wantUnderUmask(t, umask, "", "quarantine", "replay", "--data", data)
			check()
			// Files outside the data folder follow the umask.
			file, folder := filepath.Join(dir, "calls.csv"), filepath.Join(dir, "all")
			wantUnderUmask(t, umask, "", "export", "all", "--data", data, "--tenant", someTenant, "-o", folder)
			bits, err := strconv.ParseUint(umask, 8, 32)
			noError(t, err)
			var stderr bytes.Buffer
			program := Main{Args: []string{"export", "calls", "--data", data, "--tenant", someTenant, "-o", file},
				Stdout: io.Discard, Stderr: &stderr, Umask: fs.FileMode(bits)}
			if status := program.Run(t.Context()); status != exitDone {
				t.Fatalf("export: got status %d: %s", status, stderr.String())
			}
			for path, full := range map[string]fs.FileMode{file: 0o666, folder: 0o777,
				filepath.Join(folder, "warehouse.duckdb"): 0o666,
				filepath.Join(folder, "README.md"):        0o666, filepath.Join(folder, "calls"): 0o777,
				filepath.Join(folder, "calls/month=2026-01/calls.parquet"): 0o666} {
				info, err := os.Stat(path)
				noError(t, err)
				if got, want := info.Mode().Perm(), full&^fs.FileMode(bits); got != want {
					t.Errorf("mode of %s: got %o, want %o", path, got, want)
				}
			}
			check()
		})
	}
}

// Modes that are too wide are corrected and logged at the next start. The stored lake mode is kept.
func TestDataFolder_WideModesAreTightened(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	mustRun(t, mixedCalls(0, 3), "ingest", "--lake-mode", "world", "--data", data, "--dataset", "calls", "-")
	for _, name := range []string{"control.duckdb", "warehouse/" + someTenant + ".duckdb", "signing.key", "quarantine"} {
		noError(t, os.Chmod(filepath.Join(data, name), 0o777))
	}
	got := mustRun(t, "", "tenants", "list", "--data", data)
	wantModes(t, data, 0o711, 0o755, 0o644)
	if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "changed=4") {
		t.Errorf("got %q, want one line about 4 changed modes", got.stderr)
	}
	if got := mustRun(t, "", "tenants", "list", "--data", data); got.stderr != "" {
		t.Errorf("got %q, want nothing", got.stderr)
	}
	mustRun(t, "", "tenants", "list", "--lake-mode", "private", "--data", data)
	wantModes(t, data, 0o700, 0o700, 0o600)
	wantStatus(t, run(t, "", "tenants", "list", "--lake-mode", "all", "--data", data), exitUsage)
}

// fingerprint describes everything below a path: names, modes, times and hashes of contents.
func fingerprint(t *testing.T, root string) string {
	t.Helper()
	var text strings.Builder
	noError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := []byte{}
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&text, "%s %s %s %x\n", path, info.Mode(), info.ModTime(), sha256.Sum256(content))
		return nil
	}))
	return text.String()
}

// folderCommands are commands that open a data folder. The first of them writes the most files.
var folderCommands = [][]string{
	{"ingest", "--dataset", "calls", "-"}, {"quarantine", "replay"}, {"serve", "--listen", "127.0.0.1:0"},
	{"tenants", "list"}, {"keys", "create", "--tenant", someTenant, "--type", "public"}, {"quarantine", "list"},
	{"export", "calls", "--tenant", someTenant}, {"requests"},
}

// runFolderCommand runs a command on a data folder; a server is stopped when it listens.
func runFolderCommand(t *testing.T, data string, args []string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	program := Main{Args: append(args, "--data", data), Stdin: strings.NewReader(mixedCalls(100, 5)), Stdout: &stdout,
		Stderr: &stderr, Listening: func([]string) { cancel() }, NoIdleWorkers: true}
	return result{program.Run(ctx), stdout.String(), stderr.String()}
}

// A folder that voicory did not create is refused by every command, and nothing in it is created, changed or removed.
func TestDataFolder_ForeignFolderIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]string{
		"tmp":      {"tmp/precious.txt"},
		"lock":     {"lock"},
		"home":     {".bashrc", "Documents/letter.txt", "lock", "tmp/x", "lake/photo.jpg"},
		"control":  {"control.duckdb"},
		"database": {"control.duckdb", "warehouse/stock.duckdb", "lake/boats.parquet"},
		"all names": {"control.duckdb", "lock", "warehouse/x", "lake/x", "quarantine/x.ndjson", "tmp/x", "published/x",
			"signing.key"},
		"unfinished":  {"readme.txt", ".calls.parquet.unfinished", "lake/.calls.parquet.unfinished"},
		"sub-folders": {"warehouse/x", "tmp/x"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			for _, file := range content {
				noError(t, os.MkdirAll(filepath.Dir(filepath.Join(data, file)), 0o755))
				noError(t, os.WriteFile(filepath.Join(data, file), []byte("a stranger's"), 0o644))
			}
			before := fingerprint(t, data)
			for _, args := range folderCommands {
				got := wantStatus(t, runFolderCommand(t, data, args), exitUsage)
				if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "not a data folder of voicory") ||
					!strings.Contains(got.stderr, "--data") {
					t.Errorf("%v: got %q, want one line that names --data", args, got.stderr)
				}
				if after := fingerprint(t, data); after != before {
					t.Fatalf("%v changed the folder:\n%s\nwas\n%s", args, after, before)
				}
			}
		})
	}
}

// Commands that only read do not create a data folder.
func TestDataFolder_ReadingCommandsCreateNone(t *testing.T) {
	t.Parallel()
	empty, missing := t.TempDir(), filepath.Join(t.TempDir(), "deep", "data")
	for _, args := range [][]string{{"tenants", "list"}, {"keys", "list"}, {"quarantine", "list"},
		{"quarantine", "replay"}, {"requests"}, {"sources"},
		{"export", "calls", "--tenant", someTenant}, {"query", "--tenant", someTenant, "SELECT 1"},
		{"keys", "revoke", someTenant}} {
		for _, data := range []string{empty, missing} {
			got := wantStatus(t, runFolderCommand(t, data, args), exitFailed)
			if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "voicory ingest") {
				t.Errorf("%v: got %q, want one line that names a command", args, got.stderr)
			}
		}
	}
	if _, err := os.Stat(filepath.Dir(missing)); !os.IsNotExist(err) {
		t.Errorf("%s was created", filepath.Dir(missing))
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("%v was created, %v", entries, err)
	}
	noError(t, os.Mkdir(filepath.Join(empty, "lost+found"), 0o700)) // a new file system
	mustRun(t, callLine(1), "ingest", "--data", empty, "--dataset", "calls", "-")
}

// The folder of a version that wrote no mark is adopted: it gets the mark, private modes and keeps its lake readable.
// Its first start removes nothing.
func TestDataFolder_EarlierLayoutIsAdopted(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	mustRun(t, mixedCalls(0, 3), "ingest", "--lake-mode", "world", "--data", data, "--dataset", "calls", "-")
	noError(t, os.Remove(filepath.Join(data, "voicory.json")))
	kept := filepath.Join(data, "tmp", "kept")
	noError(t, os.WriteFile(kept, nil, 0o644))
	noError(t, os.Chmod(filepath.Join(data, "warehouse", someTenant+".duckdb"), 0o644))
	got := mustRun(t, "", "tenants", "list", "--data", data)
	if !strings.HasPrefix(got.stdout, someTenant) || !strings.Contains(got.stderr, "adopted") {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	noError(t, os.Remove(kept))
	wantModes(t, data, 0o711, 0o755, 0o644)
	// A DuckDB database with other tables under the same name is neither adopted nor written to.
	control := filepath.Join(data, "control.duckdb")
	noError(t, os.Remove(filepath.Join(data, "voicory.json")))
	noError(t, os.Remove(control))
	queryDuckDB(t, fmt.Sprintf("ATTACH '%s' AS other; CREATE TABLE other.boats (name VARCHAR); DETACH other; SELECT 1",
		control))
	before := fingerprint(t, control)
	if got := wantStatus(t, run(t, "", "tenants", "list", "--data", data), exitUsage); !strings.Contains(got.stderr,
		"not written by voicory") {
		t.Error(got.stderr)
	}
	if after := fingerprint(t, control); strings.Fields(after)[len(strings.Fields(after))-1] != strings.Fields(
		before)[len(strings.Fields(before))-1] {
		t.Error("the database was written to")
	}
}

// A folder of a newer version, and one with a damaged mark, are refused.
func TestDataFolder_MarkIsChecked(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	mustRun(t, callLine(1), "ingest", "--data", data, "--dataset", "calls", "-")
	for text, want := range map[string]string{`{"format":2,"lake_mode":"private"}`: "upgrade", `{`: "damaged",
		`{"format":1,"lake_mode":"x"}`: "damaged", ``: "damaged"} {
		noError(t, os.WriteFile(filepath.Join(data, "voicory.json"), []byte(text), 0o600))
		if got := wantStatus(t, run(t, "", "tenants", "list", "--data", data), exitUsage); !strings.Contains(got.stderr,
			want) {
			t.Errorf("%s: got %q, want %s", text, got.stderr, want)
		}
	}
}

// A data folder of another user is refused, because files of root in it would lock out its owner.
func TestDataFolder_OfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	data := t.TempDir()
	noError(t, os.Chown(data, 12345, 12345))
	if got := wantStatus(t, run(t, callLine(1), "ingest", "--data", data, "--dataset", "calls", "-"),
		exitFailed); !strings.Contains(got.stderr, "belongs to user 12345") {
		t.Error(got.stderr)
	}
}

var allLinks = flag.Bool("links.all", false, "try every command with every symbolic link")

// No command follows a symbolic link within a data folder, whether it points outside the folder or to another place
// inside. The command that writes the most files meets every link to the outside, and every fourth one to the inside.
// Each of the others, which open the folder in the same way, meets every twelfth link to the outside. All of them meet
// every link if -links.all is set. The files of calls stand for those of cost_daily, which are written together.
func TestDataFolder_SymlinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	template := filepath.Join(t.TempDir(), "data")
	mustRun(t, mixedCalls(0, 1), "ingest", "--data", template, "--dataset", "calls", "-")
	var names []string
	noError(t, filepath.WalkDir(template, func(path string, _ fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(template, path); name != "." && !strings.Contains(name, "cost_daily") {
			names = append(names, name)
		}
		return err
	}))
	names = append(names, "voicory.sock", "control.duckdb.wal", "warehouse/"+someTenant+".duckdb.wal",
		"warehouse/"+someTenant+".unpublished",
		"lake/tenant_id="+someTenant+"/messages", "published/replaced", "quarantine/.x.unfinished", "tmp/x")
	for n, name := range names {
		for _, inside := range []bool{false, true} {
			if inside && n%4 != 0 && !*allLinks {
				continue
			}
			t.Run(fmt.Sprintf("%s inside=%t", strings.ReplaceAll(name, "/", " "), inside), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				data, canary := filepath.Join(dir, "data"), filepath.Join(dir, "canary")
				noError(t, os.CopyFS(data, os.DirFS(template)))
				path := filepath.Join(data, name)
				isDir := false
				if info, err := os.Stat(path); err == nil {
					isDir = info.IsDir()
				} else {
					isDir = strings.HasSuffix(name, "messages") || strings.HasSuffix(name, "replaced")
				}
				if inside { // the target is inside the folder, under a name that no command uses
					canary = filepath.Join(data, "canary")
				}
				if _, err := os.Lstat(path); err == nil {
					noError(t, os.Rename(path, canary))
				} else if isDir {
					noError(t, os.Mkdir(canary, 0o755))
				} else {
					noError(t, os.WriteFile(canary, []byte("canary"), 0o644))
				}
				if isDir {
					noError(t, os.WriteFile(filepath.Join(canary, ".canary.unfinished"), []byte("canary"), 0o644))
					noError(t, os.WriteFile(filepath.Join(canary, "canary"), []byte("canary"), 0o644))
				}
				noError(t, os.Symlink(canary, path))
				before := fingerprint(t, canary)
				for i, args := range folderCommands {
					if i > 0 && (inside || (n+i)%12 != 0) && !*allLinks {
						continue
					}
					got := runFolderCommand(t, data, args)
					if got.status != exitDone && !strings.Contains(got.stderr, "symbolic link") {
						t.Errorf("%v: got %q, want an error about a symbolic link", args, got.stderr)
					}
					if after := fingerprint(t, canary); after != before {
						t.Fatalf("%v changed the target of the link: got\n%s\nwant\n%s", args, after, before)
					}
				}
			})
		}
	}
}

// The data folder itself may be a symbolic link.
func TestDataFolder_MayBeASymlink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noError(t, os.Mkdir(filepath.Join(dir, "there"), 0o755))
	noError(t, os.Symlink("there", filepath.Join(dir, "data")))
	mustRun(t, mixedCalls(0, 3), "ingest", "--data", filepath.Join(dir, "data"), "--dataset", "calls", "-")
	wantModes(t, filepath.Join(dir, "there"), 0o700, 0o700, 0o600)
}
