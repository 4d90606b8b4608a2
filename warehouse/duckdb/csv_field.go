package duckdb

/*
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

// Declarations of DuckDB's C API. Its header is not available when this package is built.
typedef union {
	struct {
		uint32_t length;
		char text[12];
	} inlined;
	struct {
		uint32_t length;
		char prefix[4];
		const char *text;
	} pointer;
} text_t;
extern uint64_t duckdb_data_chunk_get_size(void *chunk);
extern void *duckdb_data_chunk_get_vector(void *chunk, uint64_t column);
extern void *duckdb_vector_get_data(void *vector);
extern uint64_t *duckdb_vector_get_validity(void *vector);
extern void duckdb_unsafe_vector_assign_string_element_len(
	void *vector, uint64_t row, const char *text, uint64_t length);
extern void duckdb_scalar_function_set_error(void *info, const char *message);

static bool needs_quotes(const char *text, uint32_t length) {
	static const bool special[256] = {['"'] = true, [','] = true, ['\n'] = true, ['\r'] = true};
	for (uint32_t i = 0; i < length; i++) {
		if (special[(unsigned char)text[i]]) {
			return true;
		}
	}
	return length == 0;
}

// csv_field is called on DuckDB's threads with at most 2,048 texts at a time.
static void csv_field(void *info, void *chunk, void *fields) {
	void *column = duckdb_data_chunk_get_vector(chunk, 0);
	text_t *texts = duckdb_vector_get_data(column);
	uint64_t *valid = duckdb_vector_get_validity(column), rows = duckdb_data_chunk_get_size(chunk), room = 0;
	char *buffer = NULL;
	for (uint64_t row = 0; row < rows; row++) {
		if (valid != NULL && !(valid[row / 64] >> row % 64 & 1)) {
			duckdb_unsafe_vector_assign_string_element_len(fields, row, "", 0);
			continue;
		}
		uint32_t length = texts[row].inlined.length;
		const char *text = length <= sizeof texts[row].inlined.text ? texts[row].inlined.text : texts[row].pointer.text;
		if (!needs_quotes(text, length)) {
			duckdb_unsafe_vector_assign_string_element_len(fields, row, text, length);
			continue;
		}
		if (room < 2 * (uint64_t)length + 2) {
			room = 2 * (uint64_t)length + 2;
			free(buffer);
			if ((buffer = malloc(room)) == NULL) {
				duckdb_scalar_function_set_error(info, "csv_field: out of memory");
				return;
			}
		}
		char *end = buffer;
		*end++ = '"';
		for (uint32_t i = 0; i < length; i++) { // doubles quotes without a branch
			end[0] = end[1] = text[i];
			end += 1 + (text[i] == '"');
		}
		*end++ = '"';
		duckdb_unsafe_vector_assign_string_element_len(fields, row, buffer, end - buffer);
	}
	free(buffer);
}

static void *csv_field_pointer(void) { return csv_field; }
*/
import "C"

import (
	"context"
	"database/sql"
	"errors"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// addCSVField adds the SQL function csv_field(VARCHAR), which returns the text as a field of CSV (RFC 4180), quoted
// if necessary. It returns "" in quotes for an empty text, and an empty text for NULL. DuckDB's own CSV writer takes
// several times as long for JSON, which has many quotes, and its function replace takes even longer.
func addCSVField(ctx context.Context, conn *sql.Conn) error {
	return conn.Raw(func(driverConn any) error {
		own, release, err := rawConnection(ctx, driverConn)
		if err != nil {
			return err
		}
		defer release()
		text := bindings.CreateLogicalType(bindings.TypeVarchar)
		defer bindings.DestroyLogicalType(&text)
		function := bindings.CreateScalarFunction()
		defer bindings.DestroyScalarFunction(&function)
		bindings.ScalarFunctionSetName(function, "csv_field")
		bindings.ScalarFunctionAddParameter(function, text)
		bindings.ScalarFunctionSetReturnType(function, text)
		bindings.ScalarFunctionSetSpecialHandling(function) // the function handles NULL itself
		bindings.ScalarFunctionSetFunction(function, C.csv_field_pointer())
		if bindings.RegisterScalarFunction(own, function) == bindings.StateError {
			return errors.New("add the function csv_field")
		}
		return nil
	})
}
