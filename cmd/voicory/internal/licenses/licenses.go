// Package licenses contains the licences of the software that the binary is linked with.
//
// modules.txt.gz is generated from the Go modules that are linked: run `go test ./cmd/voicory/internal/licenses
// -update` when they change. duckdb.txt.gz has the licences of the libraries that DuckDB's static library contains,
// from DuckDB's source release.
package licenses

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
)

//go:embed modules.txt.gz
var modules []byte

//go:embed duckdb.txt.gz
var duckdb []byte

// WriteTo writes all licence texts, each below the names of the software that it is for.
func WriteTo(out io.Writer) error {
	for _, packed := range [][]byte{modules, duckdb} {
		text, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, text); err != nil { //nolint:gosec // the size of an embedded file is known
			return err
		}
	}
	return nil
}
