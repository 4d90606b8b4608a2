package httpapi

import (
	"fmt"
	"strconv"
	"strings"
)

// A multipart answer has at most maxRanges parts, each with at most partOverhead bytes around it: a boundary of 60 characters and two headers.
const (
	maxRanges    = 16
	partOverhead = 256
)

// rangesOf returns the Range header with which a file of a size is answered, "" for the whole file, and the number of bytes that the answer has
// at most. An answer never has more bytes than the file: RFC 9110 (14.2) allows to ignore a header, which is done for more than maxRanges ranges,
// for ranges that overlap or are not in ascending order, and for parts that are longer than the file with what is around them.
func rangesOf(header string, size int64) (kept string, bytes int64) {
	if header == "" {
		return "", size
	}
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return invalidRange, size
	}
	if strings.Count(list, ",") >= maxRanges {
		return "", size
	}
	var parts []string
	var next int64 // the first byte that the next range may have
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
		return fmt.Sprintf("bytes=%d-", size), 0 // not satisfiable, as what was asked for
	}
	if len(parts) > 1 {
		if bytes += int64(len(parts)) * partOverhead; bytes > size {
			return "", size
		}
	}
	return "bytes=" + strings.Join(parts, ","), bytes
}

// invalidRange is a header that is not understood, and answered with the status 416.
const invalidRange = "bytes=-"

// resolve returns the first and the last byte of a range in a file of a size; ok is false if it is none.
func resolve(part string, size int64) (first, last int64, ok bool) {
	from, to, ok := strings.Cut(part, "-")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	if !ok {
		return 0, 0, false
	}
	if from == "" {
		n, err := strconv.ParseUint(to, 10, 63)
		return size - min(int64(n), size), size - 1, err == nil // of an empty suffix, behind the end
	}
	start, err := strconv.ParseUint(from, 10, 63)
	if err != nil {
		return 0, 0, false
	}
	if to == "" {
		return int64(start), size - 1, true
	}
	end, err := strconv.ParseUint(to, 10, 63)
	return int64(start), min(int64(end), size-1), err == nil && start <= end
}
