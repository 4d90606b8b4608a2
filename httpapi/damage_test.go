package httpapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
)

// A fileDamage changes a published file behind the back of the server. other is a file of another tenant.
type fileDamage struct {
	name string
	do   func(t *testing.T, path, other string)
	kept bool // a kept DuckDB file is damaged in this way, too
}

var fileDamages = []fileDamage{
	{"flipped", func(t *testing.T, path, _ string) {
		content, err := os.ReadFile(path)
		noError(t, err)
		content[len(content)/3] ^= 4
		noError(t, os.WriteFile(path, content, 0o600))
	}, true},
	{"flipped in another inode", func(t *testing.T, path, _ string) {
		content, err := os.ReadFile(path)
		noError(t, err)
		content[len(content)-1] ^= 1
		replaceFile(t, path, content)
	}, false},
	{"truncated", func(t *testing.T, path, _ string) {
		info, err := os.Stat(path)
		noError(t, err)
		noError(t, os.Truncate(path, info.Size()-1))
	}, true},
	{"emptied", func(t *testing.T, path, _ string) { noError(t, os.Truncate(path, 0)) }, false},
	{"extended", func(t *testing.T, path, _ string) {
		content, err := os.ReadFile(path)
		noError(t, err)
		noError(t, os.WriteFile(path, append(content, 0), 0o600))
	}, false},
	{"of another tenant", func(t *testing.T, path, other string) {
		content, err := os.ReadFile(other)
		noError(t, err)
		replaceFile(t, path, content)
	}, false},
	{"hard link to another tenant's", func(t *testing.T, path, other string) {
		noError(t, os.Remove(path))
		noError(t, os.Link(other, path))
	}, false},
	{"symbolic link to another tenant's", func(t *testing.T, path, other string) {
		noError(t, os.Remove(path))
		noError(t, os.Symlink(other, path))
	}, true},
	{"symbolic link to a copy", func(t *testing.T, path, _ string) {
		copied := filepath.Join(t.TempDir(), "copy")
		noError(t, os.Rename(path, copied))
		noError(t, os.Symlink(copied, path))
	}, false},
	{"removed", func(t *testing.T, path, _ string) { noError(t, os.Remove(path)) }, true},
	{"directory", func(t *testing.T, path, _ string) {
		noError(t, os.Remove(path))
		noError(t, os.Mkdir(path, 0o700))
	}, true},
	{"pipe", func(t *testing.T, path, _ string) {
		noError(t, os.Remove(path))
		noError(t, syscall.Mkfifo(path, 0o600))
	}, false},
	{"not readable", func(t *testing.T, path, _ string) { noError(t, os.Chmod(path, 0)) }, false},
}

// replaceFile gives the name another file, as a copy or a synchronization does.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	noError(t, os.Remove(path))
	noError(t, os.WriteFile(path, content, 0o600))
}

// A fileRoad is a way to read a published file of calls, or its rows.
type fileRoad struct {
	name string
	ask  func(file published, sound []byte) (status int, fault string) // the fault may be that the status is 503
}

// roads returns all ways to read a file.
func (l *lake) roads(t *testing.T) []fileRoad {
	t.Helper()
	// whole returns the fault of an answer with the bytes of the file from the given offset.
	whole := func(got answer, want []byte, status int) string {
		if got.status != status || got.body != string(want) {
			return fmt.Sprintf("status %d and %d bytes, want %d and %d bytes", got.status, len(got.body), status, len(want))
		}
		return ""
	}
	sameTag := func(got answer, file published, fault string) string {
		if tag := got.header.Get("Etag"); fault == "" && !strings.Contains(tag, file.SHA256) {
			return fmt.Sprintf("ETag %s, want the SHA-256 %s", tag, file.SHA256)
		}
		return fault
	}
	path := func(file published) string { return "/api/v1/exports/calls/files/" + file.Name }
	as := l.load(t, l.secret, "calls")
	object := func(file published) string { return as.Metadata.Location + "/data/" + file.Name }
	var database answer // as it was downloaded first
	return []fileRoad{
		{"GET", func(file published, sound []byte) (int, string) {
			got := l.ask(t, "GET", path(file), l.secret)
			return got.status, sameTag(got, file, whole(got, sound, 200))
		}},
		{"Range", func(file published, sound []byte) (int, string) {
			got := l.ask(t, "GET", path(file), l.secret, "Range", "bytes=100-")
			return got.status, sameTag(got, file, whole(got, sound[100:], 206))
		}},
		{"If-Range", func(file published, sound []byte) (int, string) {
			got := l.ask(t, "GET", path(file), l.secret, "Range", "bytes=9-99", "If-Range", `"`+file.SHA256+`"`)
			return got.status, sameTag(got, file, whole(got, sound[9:100], 206))
		}},
		{"HEAD", func(file published, sound []byte) (int, string) {
			got := l.ask(t, "HEAD", path(file), l.secret)
			fault := whole(got, nil, 200)
			if length := got.header.Get("Content-Length"); length != fmt.Sprint(len(sound)) {
				fault += " length " + length
			}
			return got.status, sameTag(got, file, fault)
		}},
		{"If-None-Match", func(file published, _ []byte) (int, string) {
			got := l.ask(t, "GET", path(file), l.secret, "If-None-Match", `"`+file.SHA256+`"`)
			return got.status, whole(got, nil, 304)
		}},
		{"signed URL", func(file published, sound []byte) (int, string) {
			got := l.ask(t, "GET", file.URL, "")
			return got.status, sameTag(got, file, whole(got, sound, 200))
		}},
		{"S3 object", func(file published, sound []byte) (int, string) {
			got := l.object(t, "GET", object(file), as.credentials())
			return got.status, whole(got, sound, 200)
		}},
		{"S3 range", func(file published, sound []byte) (int, string) {
			got := l.object(t, "GET", object(file), as.credentials(), "Range", "bytes=-50")
			return got.status, whole(got, sound[len(sound)-50:], 206)
		}},
		{"S3 HEAD", func(file published, sound []byte) (int, string) {
			got := l.object(t, "HEAD", object(file), as.credentials())
			if length := got.header.Get("Content-Length"); length != fmt.Sprint(len(sound)) {
				return got.status, "length " + length
			}
			return got.status, whole(got, nil, 200)
		}},
		{"Iceberg table", func(published, []byte) (int, string) {
			got := l.object(t, "GET", l.load(t, l.secret, "calls").list(), as.credentials())
			if got.status != 200 || !strings.HasPrefix(got.body, "Obj\x01") {
				return got.status, "no manifest list"
			}
			return got.status, ""
		}},
		{"Delta Sharing", func(file published, sound []byte) (int, string) {
			got := l.shared(t, "POST", sharedTables+"/calls/query", l.secret, "")
			if got.status != 200 {
				return got.status, "no table"
			}
			for _, shared := range l.query(t, "calls", "").files {
				if strings.Contains(shared.URL, file.Name) {
					got := l.download(t, "GET", shared.URL)
					return got.status, whole(got, sound, 200)
				}
			}
			return got.status, "the table does not have the file"
		}},
		{"SQL", func(published, []byte) (int, string) {
			got := l.sql(t, l.secret, `{"sql": "SELECT count(*) AS n, count(DISTINCT id) AS ids, min(created_at) AS since FROM calls"}`)
			if !strings.Contains(got.body, `60`) || strings.Count(got.body, "60") < 2 {
				return got.status, got.body
			}
			return got.status, ""
		}},
		{"Parquet export", func(published, []byte) (int, string) {
			got := l.stream(t, "calls?format=parquet&from=2026-03-01&to=2026-04-01")
			if got.status == 200 && (!strings.HasPrefix(got.body, "PAR1") || !strings.HasSuffix(got.body, "PAR1")) {
				return got.status, "no Parquet file"
			}
			return got.status, ""
		}},
		{"Arrow export", func(published, []byte) (int, string) {
			got := l.stream(t, "calls?format=arrow")
			if got.status == 200 && len(got.body) < 1000 {
				return got.status, "no rows"
			}
			return got.status, ""
		}},
		{"DuckDB file", func(published, []byte) (int, string) {
			got := l.ask(t, "GET", databasePath, l.secret)
			if database.status == 0 {
				database = got
			}
			return got.status, whole(got, []byte(database.body), 200)
		}},
		{"rest of the DuckDB file", func(published, []byte) (int, string) {
			got := l.ask(t, "GET", databasePath, l.secret, "Range", "bytes=5000-", "If-Range", database.header.Get("Etag"))
			return got.status, whole(got, []byte(database.body)[5000:], 206)
		}},
		{"list", func(file published, _ []byte) (int, string) {
			got := l.ask(t, "GET", "/api/v1/exports/calls/files", l.secret)
			if got.status == 200 && !strings.Contains(got.body, file.SHA256) {
				return got.status, "another file"
			}
			return got.status, ""
		}},
	}
}

// withSQL adds SQL to a server.
func withSQL(t *testing.T) func(*httpapi.Options) {
	t.Helper()
	program, err := os.Executable()
	noError(t, err)
	return func(o *httpapi.Options) {
		o.Queries, err = query.New(query.Options{Files: o.Store.(query.Files),
			Command: []string{program, query.WorkerArgument}})
		noError(t, err)
	}
}

// roadsPerDamage is the number of roads that meet each kind of damage but the first kind.
const roadsPerDamage = 4

// TestFiles_DamageMatrix damages the file of a month and requests it. The answer has the right bytes and the ETag of
// these bytes, or is 503. After the next publication the same roads answer with the right bytes. Each road is the first
// request that meets a flipped bit. Each other kind of damage meets some of the roads, so that each road meets several
// kinds. Tests of package warehouse try all kinds, because all roads open files by its verifier.
func TestFiles_DamageMatrix(t *testing.T) {
	l := startLake(t, withSQL(t))
	dir := l.warehouse.Dir()
	another := l.files(t, l.another, "calls", "")[0].Name
	foreign := filepath.Join(dir, "published", theirs.String(), another)
	foreignBytes, err := os.ReadFile(foreign)
	noError(t, err)

	current := func() published { return l.files(t, l.secret, "calls", "?signed=true")[1] }
	content := func(file published) []byte {
		bytes, err := os.ReadFile(filepath.Join(dir, "published", mine.String(), file.Name))
		noError(t, err)
		return bytes
	}
	roads := l.roads(t)
	asked, refused := map[string]int{}, map[string]int{}
	meet := func(damage fileDamage, group []fileRoad) {
		file := current()
		sound := content(file)
		if sum := sha256.Sum256(sound); hex.EncodeToString(sum[:]) != file.SHA256 {
			t.Fatalf("%s: the file does not have the SHA-256 of the list", damage.name)
		}
		damage.do(t, filepath.Join(dir, "published", mine.String(), file.Name), foreign)
		for _, road := range group {
			status, fault := road.ask(file, sound)
			if asked[road.name]++; status == http.StatusServiceUnavailable {
				refused[road.name]++
			} else if fault != "" {
				t.Errorf("%s, %s: got %s", damage.name, road.name, fault)
			}
		}
		l.ask(t, "GET", "/api/v1/exports/calls/files/"+file.Name, l.secret) // notices the damage
		_, err := l.warehouse.PublishTenant(t.Context(), mine)
		noError(t, err)
		file = current()
		sound = content(file)
		for _, road := range group {
			if status, fault := road.ask(file, sound); fault != "" {
				t.Errorf("%s, %s, published again: got status %d and %s", damage.name, road.name, status, fault)
			}
		}
	}
	for i := range roads {
		meet(fileDamages[0], roads[i:i+1])
	}
	cycle := slices.Repeat(roads, roadsPerDamage)
	for i, damage := range fileDamages[1:] {
		meet(damage, cycle[i*roadsPerDamage:][:roadsPerDamage])
	}
	for _, damage := range fileDamages { // of the copy that the server keeps for further readers of the DuckDB file
		if !damage.kept {
			continue
		}
		before := l.ask(t, "GET", databasePath, l.secret)
		kept, err := filepath.Glob(filepath.Join(l.warehouse.TempDir(), "*.duckdb"))
		if err != nil || len(kept) != 1 {
			t.Fatalf("got kept files %v and error %v, want one", kept, err)
		}
		tag := before.header.Get("Etag")
		damage.do(t, kept[0], foreign)
		for _, headers := range [][]string{{"Range", "bytes=5000-", "If-Range", tag}, {}, {}} {
			got := l.ask(t, "GET", databasePath, l.secret, headers...)
			sum := sha256.Sum256([]byte(got.body))
			if got.status == 200 && !strings.Contains(got.header.Get("Etag"), hex.EncodeToString(sum[:])) ||
				got.status == 206 && got.body != before.body[5000:] || got.status != 200 && got.status != 206 && got.status != 503 {
				t.Errorf("kept file %s, %v: got status %d and %d bytes", damage.name, headers, got.status, len(got.body))
			}
		}
		if got := l.ask(t, "GET", databasePath, l.secret); got.status != 200 {
			t.Errorf("kept file %s: got status %d, want 200 after it was noticed", damage.name, got.status)
		}
	}
	if after, err := os.ReadFile(foreign); err != nil || !bytes.Equal(after, foreignBytes) {
		t.Errorf("the file of the other tenant changed: error %v", err)
	}
	for _, road := range []string{"GET", "Range", "signed URL", "S3 object", "SQL", "Delta Sharing"} {
		if asked[road] < 2 || refused[road] < asked[road]-1 { // root can read every file
			t.Errorf("%s: got 503 for %d of %d damaged files", road, refused[road], asked[road])
		}
	}
}
