package web

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// For any Range header, the response has at most the bytes of the file and the bytes that were counted for it, and
// RFC 9110 allows it.
func TestRanges_BoundsTheAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	number := func(size int) string {
		switch r.IntN(8) {
		case 0:
			return ""
		case 1:
			return []string{"x", "-1", "+1", "99999999999999999999", "9223372036854775807", "0x1", " 3 "}[r.IntN(7)]
		}
		return fmt.Sprint(r.IntN(size + 10))
	}
	statuses := map[int]int{}
	for range 30_000 {
		size := 1 + r.IntN(5000)
		content := bytes.Repeat([]byte{'x'}, size)
		ascending := r.IntN(2) == 0
		parts := make([]string, 1+r.IntN(1+r.IntN(40)))
		at := 0
		for i := range parts {
			parts[i] = number(size) + "-" + number(size)
			if ascending {
				at += r.IntN(200)
				length := r.IntN(200)
				parts[i], at = fmt.Sprintf("%d-%d", at, at+length), at+length+1
			}
		}
		header := "bytes=" + strings.Join(parts, []string{",", ", ", ",,"}[r.IntN(3)])
		kept, counted := Ranges(header, int64(size))
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if kept != "" {
			request.Header.Set("Range", kept)
		}
		answer := httptest.NewRecorder()
		answer.Header().Set("Content-Type", "application/vnd.apache.parquet")
		http.ServeContent(answer, request, "", time.Time{}, bytes.NewReader(content))
		statuses[answer.Code]++
		sent := int64(answer.Body.Len())
		if answer.Code == http.StatusRequestedRangeNotSatisfiable {
			continue
		}
		if sent > int64(size) || sent > counted || answer.Code != http.StatusOK && answer.Code != http.StatusPartialContent {
			t.Fatalf("%s of %d bytes: got status %d and %d bytes, counted %d", header, size, answer.Code, sent, counted)
		}
		if kind := answer.Header().Get("Content-Type"); answer.Code == http.StatusPartialContent &&
			strings.HasPrefix(kind, "multipart/") && strings.Count(answer.Body.String(), "Content-Range") > maxRanges {
			t.Fatalf("%s of %d bytes: got more than %d parts", header, size, maxRanges)
		}
	}
	for _, status := range []int{200, 206, 416} {
		if statuses[status] < 100 {
			t.Errorf("status %d came %d times only: the test shows too little", status, statuses[status])
		}
	}
}

func TestRanges_KeptHeaderAndMaximumBytes(t *testing.T) {
	for _, test := range []struct {
		header, kept string
		bytes        int64
	}{
		{"", "", 10_000},
		{"bytes=0-99", "bytes=0-99", 100},
		{"bytes=-100", "bytes=9900-9999", 100},
		{"bytes=9000-", "bytes=9000-9999", 1000},
		{"bytes= 0-99 , 200-299,", "bytes=0-99,200-299", 200 + 2*partOverhead},
		{"bytes=0-99,20000-30000", "bytes=0-99", 100},
		{"bytes=200-299,0-99", "", 10_000},
		{"bytes=0-99,99-199", "", 10_000},
		{"bytes=0-,0-,0-", "", 10_000},
		{"bytes=0-20000", "bytes=0-9999", 10_000},
		{"bytes=0-5000,5001-9999", "", 10_000}, // longer than the file, with the headers of the parts
		{"bytes=" + strings.Repeat("0-0,", 6000), "", 10_000},
		{"bytes=" + strings.Repeat(",", 6000) + "0-0", "", 10_000},
		{"lines=0-1", "", 10_000}, // an unknown unit is ignored
		{"nonsense", "", 10_000},
		{"Bytes=0-99", "bytes=0-99", 100},
		{"BYTES = -100", "bytes=9900-9999", 100},
		{"bytes=100-99999999999999999999999", "bytes=100-9999", 9900},
		{"bytes=-99999999999999999999999", "bytes=0-9999", 10_000},
		{"bytes=99999999999999999999999-", "bytes=10000-", 0},
		{"bytes=5-1", invalidRange, 10_000},
		{"bytes=-", invalidRange, 10_000},
		{"bytes=20000-", "bytes=10000-", 0},
		{"bytes=-0", "bytes=10000-", 0},
		{"bytes=+1-5", invalidRange, 10_000},
	} {
		if kept, bytes := Ranges(test.header, 10_000); bytes != test.bytes || kept != test.kept {
			t.Errorf("%.40s: got %q and %d bytes, want %q and %d", test.header, kept, bytes, test.kept, test.bytes)
		}
	}
}
