package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// readHeader reads the header and sets delimiter, header, columns and unknown.
func (r *csvReader) readHeader() error {
	header, err := r.headerRecord()
	if named := separatorLine.FindSubmatch(header); named != nil {
		r.heading = strings.TrimRight(string(header), "\r\n") + "\n"
		r.delimiter = named[1][0]
		header, err = r.headerRecord()
	}
	if header == nil {
		return err
	}
	r.heading += strings.TrimRight(string(header), "\r\n")
	fields, err := r.readNames(header)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(fields, func(name string) bool { return name != "" }) {
		return fmt.Errorf("the header line has no column of %s; it begins with %.80q", r.dataset.Name, r.header[0])
	}
	r.columns, r.mostFields = make([]csvColumn, len(fields)), len(fields)+maxEmptyFields
	for i, name := range fields {
		typ, known := r.dataset.FieldType(name)
		switch shown := r.header[i]; {
		case typ != "":
			r.columns[i] = csvColumn{`"` + name + `":`, typ} // names of fields need no escapes
		case !known && shown != "" && len(r.unknown) < maxCSVUnknown:
			shown = shown[:min(len(shown), maxCSVUnknownName)]
			r.unknown = append(r.unknown, strings.ToValidUTF8(shown, ""))
		}
	}
	return nil
}

// headerRecord returns the next record as it is, or nil at the end of the input.
func (r *csvReader) headerRecord() ([]byte, error) {
	r.lines += r.blankLines()
	length, lines, defect, ok := r.scan()
	header := r.buffer[r.start : r.start+length]
	r.start += length
	r.lines += lines + 1
	switch {
	case !ok || length == 0:
		return nil, r.failure()
	case length > maxCSVHeader:
		return nil, errors.New("the header line is longer than 1 MiB")
	case defect != "":
		return nil, errors.New("the header line is not CSV: " + defect)
	case !utf8.Valid(header):
		return nil, errors.New("the header line is not UTF-8; convert the file to UTF-8")
	}
	return bytes.Clone(header), nil
}

// readNames sets header to the names of the columns, and the delimiter, unless it is set, to the one that gives the
// most columns of the dataset. It returns the names of the fields that the columns fill.
func (r *csvReader) readNames(record []byte) (fields []string, err error) {
	delimiters := csvDelimiters
	if r.delimiter != 0 {
		delimiters = string(r.delimiter)
	}
	best := -1
	for _, delimiter := range []byte(delimiters) {
		columns, names, failure := r.namesBy(delimiter, record)
		known := 0
		for _, name := range names {
			if name != "" {
				known++
			}
		}
		if best < 0 || known > best || known == best && len(columns) > len(r.header) {
			best, fields, err = known, names, failure
			r.header, r.delimiter = columns, delimiter
		}
	}
	r.setDelimiters(string(r.delimiter))
	return fields, err
}

// namesBy splits a header by a delimiter. It returns the names of the columns and of the fields that these fill.
func (r *csvReader) namesBy(delimiter byte, record []byte) (columns, fields []string, err error) {
	r.setDelimiters(string(delimiter))
	if _, _, defect, _ := r.split(record, true); defect != "" {
		return nil, nil, errors.New("the header line is not CSV: " + defect)
	}
	for _, field := range r.fields {
		columns = append(columns, strings.TrimSpace(string(field)))
	}
	fields, err = r.dataset.Headers(columns)
	return columns, fields, err
}
