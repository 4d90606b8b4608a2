package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/voicory/warehouse/internal/pythontest"
	"github.com/voicory/warehouse/warehouse"
)

// A path of another tenant is not served in whatever way it is written, with a valid signature for exactly that path.
func TestObjects_NoFormOfAPathReachesAnotherTenant(t *testing.T) {
	l := startLake(t)
	as := l.load(t, l.secret, "calls").credentials()
	own, other := mine.String(), theirs.String()
	name := l.files(t, l.another, "calls", "")[0].Name
	ownName := l.files(t, l.secret, "calls", "")[0].Name
	rest := other + "/calls/data/" + name
	if got := l.object(t, "GET", "/voicory/"+own+"/calls/data/"+ownName, as); got.status != 200 {
		t.Fatalf("got %+v for a file of the tenant", got)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	var paths []string
	for _, up := range []string{"../", "..%2F", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..%5c", "....//", "./../",
		".%00./"} {
		paths = append(paths, "/voicory/"+own+"/"+up+rest, "/voicory/"+own+"/calls/"+up+up+rest,
			"/voicory/"+own+"/calls/data/"+up+up+up+rest, "/voicory/"+up+"voicory/"+rest,
			"/voicory/"+own+"/calls/data/"+strings.ReplaceAll(up+up+up+rest, "/", "%2F"),
			"/voicory/"+own+"/calls/metadata/"+up+"data/"+name)
	}
	paths = append(paths, "/voicory/"+rest, "/voicory//"+rest, "//voicory/"+rest, "/voicory/"+rest+"/", "/"+rest,
		"/voicory%2F"+rest,
		"/voicory/"+strings.ReplaceAll(rest, "/", "%2F"), "/voicory/"+strings.ReplaceAll(rest, "/", "%252F"),
		"/VOICORY/"+rest, "/voicory/"+strings.ToUpper(other)+"/calls/data/"+name, "/voicory/"+own+","+rest,
		"/voicory/"+own+"%00"+rest, "/voicory/"+own+";"+rest, "/voicory/all_tenants/calls/data/"+rest,
		"/voicory/%"+"2e%2e/"+rest,
		"/voicory/"+strings.Replace(rest, "b", "%62", 1), "/voicory/"+own+"/calls/data/"+name,
		"/voicory/"+own+"/calls/data/"+name+"%2F",
		"/voicory/"+own+"?prefix="+other, "/voicory/"+own+"/calls/data/"+name+"?X-Amz-Key="+rest, "/"+own+"/../voicory/"+rest)
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD"} {
			if got := l.object(t, method, path, as); got.status < 400 || strings.Contains(got.body, "PAR1") {
				t.Errorf("%s %s: got %d %.80s", method, path, got.status, got.body)
			}
			request := l.request(t, method, path, "") // signed as the decoded path, as servers do that decode once
			raw := request.URL.RawPath
			request.URL.RawPath = ""
			noError(t, signer.SignHTTP(t.Context(), as, request, emptyHash, "s3", "us-east-1", l.time()))
			request.URL.RawPath = raw
			if got := l.send(t, request); got.status < 400 || strings.Contains(got.body, "PAR1") {
				t.Errorf("%s %s, signed as %s: got %d %.80s", method, path, request.URL.Path, got.status, got.body)
			}
		}
	}
	for _, host := range []string{"voicory." + strings.TrimPrefix(l.URL, "http://"), "voicory.s3.example.com",
		other + ".example.com"} {
		for _, path := range []string{"/" + rest, "/calls/data/" + name, "/voicory/" + rest} {
			request := l.request(t, "GET", path, "")
			request.Host = host
			noError(t, v4.NewSigner().SignHTTP(t.Context(), as, request, emptyHash, "s3", "us-east-1", l.time()))
			if got := l.send(t, request); got.status < 400 || strings.Contains(got.body, "PAR1") {
				t.Errorf("%s at %s: got %d", path, host, got.status)
			}
		}
	}
	for _, path := range []string{"/voicory/" + rest, "/voicory/" + own + "/calls/data/..%2F..%2F..%2F" + rest} {
		target, _, err := signer.PresignHTTP(t.Context(), as, l.request(t, "GET", path+"?X-Amz-Expires=60", ""),
			"UNSIGNED-PAYLOAD",
			"s3", "us-east-1", l.time())
		noError(t, err)
		if got := l.send(t, l.request(t, "GET", strings.TrimPrefix(target, l.URL), "")); got.status < 400 {
			t.Errorf("presigned %s: got %+v", path, got)
		}
	}
	// A signature for a path of the tenant is not one for another path.
	own = "/voicory/" + own + "/calls/data/" + ownName
	target, _, err := signer.PresignHTTP(t.Context(), as, l.request(t, "GET", own+"?X-Amz-Expires=60", ""),
		"UNSIGNED-PAYLOAD", "s3",
		"us-east-1", l.time())
	noError(t, err)
	moved := strings.Replace(strings.TrimPrefix(target, l.URL), own, "/voicory/"+rest, 1)
	l.wantObjectError(t, l.send(t, l.request(t, "GET", moved, "")), 403, "SignatureDoesNotMatch")
}

// An engine that was attached before an erasure reads no erased row after it.
func TestCatalog_AttachedEnginesReadNoErasedRow(t *testing.T) {
	python := pythontest.Python(t, "duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5",
		"duckdb-extension-httpfs==1.5.5", "pyiceberg==0.12.0", "pyarrow==26.0.1", "polars==2.1.0", "chdb==4.4.0")
	l := startLake(t)
	command := exec.CommandContext(t.Context(), python, "testdata/erasure.py", l.URL, l.secret, mine.String(), id(1))
	var failures bytes.Buffer
	command.Stderr = &failures
	input, err := command.StdinPipe()
	noError(t, err)
	output, err := command.StdoutPipe()
	noError(t, err)
	noError(t, command.Start())
	lines := bufio.NewScanner(output)
	next := func() (counts map[string]any) {
		if !lines.Scan() {
			t.Fatalf("the engines have ended: %s", failures.String())
		}
		noError(t, json.Unmarshal(lines.Bytes(), &counts))
		return counts
	}
	for engine, counts := range next() {
		if counts := counts.([]any); counts[0] != 60.0 || counts[1] != 1.0 {
			t.Errorf("%s: got %v calls, and calls of the customer, before the erasure", engine, counts)
		}
	}
	_, err = l.warehouse.Erase(t.Context(), mine, id(11), warehouse.EraseOptions{})
	noError(t, err)
	_, err = input.Write([]byte("\n"))
	noError(t, err)
	for engine, counts := range next() {
		if found, ok := counts.([]any); ok && (found[0] != 59.0 || found[1] != 0.0) || !ok &&
			!strings.HasSuffix(engine, "before") {
			t.Errorf("%s: got %v after the erasure, want the 59 other calls", engine, counts)
		}
	}
	noError(t, command.Wait())
}
