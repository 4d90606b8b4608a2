package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// bind binds the parameters of a request: a JSON list to ? and $1, a JSON object to $name. It returns a Failure if a
// parameter is missing or if there are more values than parameters.
//
// Values are bound as follows:
//   - A string is a VARCHAR, which DuckDB casts if the statement requires another type.
//   - An integer is a BIGINT if it fits, and else a DECIMAL.
//   - Another number is a DECIMAL with the digits as written. It is a DOUBLE if it has an exponent or over 38 digits.
//   - A list of strings, integers, numbers or booleans is a LIST of that type.
//   - Any other list and any object is a VARCHAR with the JSON.
func (s *statement) bind(params json.RawMessage) error {
	count := int(duckdb.NParams(s.prepared))
	var list []any
	var named map[string]any
	if len(params) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(params))
		decoder.UseNumber()
		var err error
		if params[0] == '{' {
			err = decoder.Decode(&named)
		} else {
			err = decoder.Decode(&list)
		}
		if err != nil {
			return invalidParam("params must be a list or an object")
		}
	}
	if got := len(list) + len(named); got > count {
		return invalidParam("The statement has %d parameters, but params has %d values", count, got)
	}
	for i := range count {
		name := duckdb.ParameterName(s.prepared, duckdb.IdxT(i+1))
		value, ok := named[name]
		if position, err := strconv.Atoi(name); !ok && err == nil && position >= 1 && position <= len(list) {
			value, ok = list[position-1], true
		}
		if !ok {
			return invalidParam("The parameter $%s has no value in params", name)
		}
		bound := paramValue(value)
		defer duckdb.DestroyValue(&bound)
		if duckdb.BindValue(s.prepared, duckdb.IdxT(i+1), bound) == duckdb.StateError {
			return s.explain(duckdb.PrepareError(s.prepared))
		}
	}
	return nil
}

// invalidParam returns the failure of a statement with invalid parameters.
func invalidParam(format string, args ...any) error {
	return &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(format, args...)}
}

// paramValue returns the DuckDB value of a decoded JSON value. The caller destroys it.
func paramValue(value any) duckdb.Value {
	switch v := value.(type) {
	case nil:
		return duckdb.CreateNullValue()
	case bool:
		return duckdb.CreateBool(v)
	case string:
		return duckdb.CreateVarchar(v)
	case json.Number:
		return paramNumber(v.String())
	case []any:
		if typ, ok := commonType(v); ok {
			return paramList(v, typ)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a value decoded from JSON can be encoded
	}
	return duckdb.CreateVarchar(string(text))
}

// maxDigits is the maximum number of digits of a DECIMAL.
const maxDigits = 38

// paramNumber returns the DuckDB value of a JSON number.
func paramNumber(text string) duckdb.Value {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return duckdb.CreateInt64(n)
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := strings.TrimLeft(strings.TrimPrefix(whole, "-")+fraction, "0")
	unscaled, ok := new(big.Int).SetString(whole+fraction, 10)
	if width := max(len(digits), len(fraction), 1); ok && width <= maxDigits { // ok is false if there is an exponent
		low := new(big.Int).And(unscaled, new(big.Int).SetUint64(1<<64-1)).Uint64()
		high := new(big.Int).Rsh(unscaled, 64).Int64()
		return duckdb.CreateDecimal(duckdb.NewDecimal(uint8(width), uint8(len(fraction)), duckdb.NewHugeInt(low, high)))
	}
	n, _ := strconv.ParseFloat(text, 64) // the only possible error is overflow, with ±Inf as the value
	return duckdb.CreateDouble(n)
}

// commonType returns the type of all elements of a list that are not null, or false if they have no common type.
func commonType(list []any) (typ duckdb.Type, ok bool) {
	typ = duckdb.TypeSQLNull
	for _, element := range list {
		var of duckdb.Type
		switch v := element.(type) {
		case nil:
			continue
		case bool:
			of = duckdb.TypeBoolean
		case string:
			of = duckdb.TypeVarchar
		case json.Number:
			if of = duckdb.TypeDouble; isInt64(v.String()) {
				of = duckdb.TypeBigInt
			}
		default:
			return typ, false
		}
		switch {
		case typ == duckdb.TypeSQLNull || typ == of:
			typ = of
		case typ == duckdb.TypeBigInt && of == duckdb.TypeDouble, typ == duckdb.TypeDouble && of == duckdb.TypeBigInt:
			typ = duckdb.TypeDouble
		default:
			return typ, false
		}
	}
	return typ, true
}

// isInt64 reports whether a JSON number is an integer that fits in 64 bits.
func isInt64(text string) bool {
	_, err := strconv.ParseInt(text, 10, 64)
	return err == nil
}

// paramList returns a LIST value with elements of the given type. The caller destroys it.
func paramList(list []any, typ duckdb.Type) duckdb.Value {
	values := make([]duckdb.Value, len(list))
	for i, element := range list {
		if number, ok := element.(json.Number); ok && typ == duckdb.TypeDouble {
			n, _ := number.Float64() // a number that is too large becomes ±Inf
			values[i] = duckdb.CreateDouble(n)
		} else {
			values[i] = paramValue(element)
		}
	}
	defer func() {
		for i := range values {
			duckdb.DestroyValue(&values[i])
		}
	}()
	of := duckdb.CreateLogicalType(typ)
	defer duckdb.DestroyLogicalType(&of)
	return duckdb.CreateListValue(of, values)
}
