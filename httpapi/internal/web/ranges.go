package web

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of multipart responses: the number of parts, and the bytes around each part (a boundary of 60 characters
// and two headers).
const (
	maxRanges    = 16
	partOverhead = 256
)

// Ranges returns the Range header to use for a file of size bytes, or "" for the whole file, and the maximum
// number of bytes of the response.
//
// A response is never longer than the file. The header is ignored if it has more than maxRanges ranges, or if
// ranges overlap or are not in ascending order. It is also ignored if the parts with their headers are longer than
// the file. RFC 9110 (14.2) allows this.
func Ranges(header string, size int64) (kept string, bytes int64) {
	if header == "" {
		return "", size
	}
	unit, list, _ := strings.Cut(header, "=")
	if !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return "", size // RFC 9110 (14.2): a unit that the server does not know is ignored
	}
	if strings.Count(list, ",") >= maxRanges {
		return "", size
	}
	var parts []string
	var next int64 // lowest first byte allowed for the next range
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		first, last, ok := resolve(part, size)
		if !ok {
			return invalidRange, size
		}
		if first >= size { // not satisfiable
			continue
		}
		if first < next {
			return "", size
		}
		next = last + 1
		bytes += last - first + 1
		parts = append(parts, fmt.Sprintf("%d-%d", first, last))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("bytes=%d-", size), 0 // no range is satisfiable
	}
	if len(parts) > 1 {
		if bytes += int64(len(parts)) * partOverhead; bytes > size {
			return "", size
		}
	}
	return "bytes=" + strings.Join(parts, ","), bytes
}

// invalidRange is a malformed Range header, which net/http answers with 416.
const invalidRange = "bytes=-"

// resolve returns the first and the last byte of a range in a file of size bytes. ok is false if the range is
// malformed.
func resolve(part string, size int64) (first, last int64, ok bool) {
	from, to, ok := strings.Cut(part, "-")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	if !ok {
		return 0, 0, false
	}
	if from == "" {
		n, ok := position(to)
		return size - min(n, size), size - 1, ok // of the suffix "-0", first is size: not satisfiable
	}
	first, ok = position(from)
	if !ok || to == "" {
		return first, size - 1, ok
	}
	last, ok = position(to)
	return first, min(last, size-1), ok && first <= last
}

// position parses a number of digits. A number of any length is valid; the largest int64 stands for a larger one.
func position(digits string) (n int64, ok bool) {
	u, err := strconv.ParseUint(digits, 10, 63)
	return int64(u), err == nil || errors.Is(err, strconv.ErrRange)
}
