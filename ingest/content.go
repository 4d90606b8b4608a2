package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
)

// refusedContent lists formats that are recognized by their first bytes and not read, each with the way out.
var refusedContent = []struct {
	magic  func(head []byte) bool
	reason string
}{
	{prefix("FEA1"), "it is a Feather V1 file, which is not read; write Feather V2 (Arrow) or Parquet"},
	{prefix("PARE"), "it is an encrypted Parquet file, which is not read; write it without encryption"},
	{prefix("Obj\x01"), "it is an Avro file, which is not read; write Parquet or NDJSON"},
	{prefix("ORC"), "it is an ORC file, which is not read; write Parquet or NDJSON"},
	{prefix("SQLite format"), "it is an SQLite database, which is not read; write CSV or NDJSON"},
	{isDuckDB, "it is a DuckDB database, which is not read; write Parquet or NDJSON"},
	{isTar, "it is a tar archive, which is not read; load the files in it"},
	{prefix("PK\x05\x06"), "it is an empty ZIP archive, which is not read; write CSV or NDJSON"},
	{prefix("PK\x03\x04"), "it is a ZIP archive or an Excel workbook, which is not read; write CSV, and compress it " +
		"with gzip or zstd"},
	{prefix("\xd0\xcf\x11\xe0"), "it is an Excel workbook, which is not read; write CSV"},
	{prefix("\xfd7zXZ\x00"), "it is compressed with xz, which is not read; use gzip, zstd or bzip2"},
	{prefix("\x04\x22\x4d\x18"), "it is compressed with LZ4, which is not read; use gzip, zstd or bzip2"},
	{prefix("\xff\x06\x00\x00sNaPpY"), "it is compressed with Snappy, which is not read; use gzip, zstd or bzip2"},
	{prefix("7z\xbc\xaf\x27\x1c"), "it is a 7z archive, which is not read; use gzip, zstd or bzip2"},
	{prefix("Rar!"), "it is a RAR archive, which is not read; use gzip, zstd or bzip2"},
	{prefix("LZIP"), "it is compressed with lzip, which is not read; use gzip, zstd or bzip2"},
	{prefix("\x5d\x00\x00"), "it is compressed with LZMA, which is not read; use gzip, zstd or bzip2"},
	{prefix("\x89HDF\r\n"), "it is an HDF5 file, which is not read; write Parquet or NDJSON"},
	{prefix("%PDF-"), "it is a PDF document, which is not read; write CSV or NDJSON"},
	{prefix("version https://git-lfs"), "it is a Git LFS pointer, which is not read; fetch the file with git lfs pull"},
	{isMarkup, "it is an HTML or XML document, which is not read; if it was downloaded, it may be a login or error page"},
	{prefix("\x1f\x9d"), "it is compressed with compress, which is not read; use gzip, zstd or bzip2"},
}

// isDuckDB reports whether head begins a DuckDB database, whose magic follows a checksum.
func isDuckDB(head []byte) bool { return len(head) >= 12 && string(head[8:12]) == "DUCK" }

// isTar reports whether head begins a tar archive, whose magic follows the attributes of the first file.
func isTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

// isMarkup reports whether head begins HTML or XML.
func isMarkup(head []byte) bool {
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), whiteSpace))
	for _, tag := range []string{"<!doctype", "<html", "<?xml", "<!--"} {
		if bytes.HasPrefix(text, []byte(tag)) {
			return true
		}
	}
	return false
}

// contentFormat returns the format of an input by its first bytes, whatever its name or media type says: Parquet,
// Arrow, or JSON in any shape. It returns named if the first bytes do not show the format, as with CSV. It returns an
// unreadableError for formats that are recognized and not read.
func contentFormat(in *bufio.Reader, named Format) (Format, error) {
	head, err := peek(in, maxMagic)
	if err != nil {
		return "", &unreadableError{fmt.Errorf("cannot be read: %w", err)}
	}
	if inner := codecOf(head); inner != nil {
		return "", &unreadableError{fmt.Errorf("it is compressed twice; remove the inner %s compression", inner.name)}
	}
	for _, refused := range refusedContent {
		if refused.magic(head) {
			return "", &unreadableError{errors.New(refused.reason)}
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return Parquet, nil
	case bytes.HasPrefix(head, []byte("ARROW1")), bytes.HasPrefix(head, []byte{0xff, 0xff, 0xff, 0xff}):
		return Arrow, nil
	}
	if len(head) == 0 && (named == Parquet || named == Arrow) {
		return "", &unreadableError{errors.New("it is empty")}
	}
	for size := 64; ; size *= 8 { // white space may precede the first bracket
		head, err := peek(in, min(size, maxBlankHead))
		if err != nil {
			return "", &unreadableError{fmt.Errorf("cannot be read: %w", err)}
		}
		text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), whiteSpace)
		switch {
		case len(text) > 0 && (text[0] == '{' || text[0] == '['):
			return JSON, nil
		case len(text) > 0 || len(head) < size || size > maxBlankHead:
			return named, nil
		}
	}
}

const (
	// maxBlankHead is the maximum length of white space before JSON that is not named so, in bytes.
	maxBlankHead = 64 << 10
	// byteOrderMark is the byte order mark in UTF-8, which some programs write before text.
	byteOrderMark = "\ufeff"
)
