package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// bind binds the parameters of a request: a list to ? and $1, an object to $name. Each must be there, and none too many.
//
// A string is a VARCHAR, which DuckDB casts where another type is meant; a whole number the smallest of BIGINT and DECIMAL(38,0) that holds
// it; another number a DECIMAL as it is written, or a DOUBLE where it has an exponent or more than 38 digits. A list of strings, of whole
// numbers, of numbers or of booleans is such a LIST; any other list, and an object, is JSON as VARCHAR.
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
			return invalidParam("params is neither a list nor an object")
		}
	}
	if given := len(list) + len(named); given > count {
		return invalidParam("The statement has %d parameters, and %d are given", count, given)
	}
	for i := range count {
		name := duckdb.ParameterName(s.prepared, duckdb.IdxT(i+1))
		value, ok := named[name]
		if position, err := strconv.Atoi(name); !ok && err == nil && position >= 1 && position <= len(list) {
			value, ok = list[position-1], true
		}
		if !ok {
			return invalidParam("The parameter $%s is not given", name)
		}
		bound := paramValue(value)
		defer duckdb.DestroyValue(&bound)
		if duckdb.BindValue(s.prepared, duckdb.IdxT(i+1), bound) == duckdb.StateError {
			return s.explain(duckdb.PrepareError(s.prepared))
		}
	}
	return nil
}

func invalidParam(format string, args ...any) error {
	return &Failure{Kind: ErrSQL, Message: fmt.Sprintf(format, args...)}
}

// paramValue makes a value of DuckDB, to be destroyed.
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
		panic(err) // it was JSON
	}
	return duckdb.CreateVarchar(string(text))
}

// maxDigits is the most that a DECIMAL has.
const maxDigits = 38

func paramNumber(text string) duckdb.Value {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return duckdb.CreateInt64(n)
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := strings.TrimLeft(strings.TrimPrefix(whole, "-")+fraction, "0")
	unscaled, ok := new(big.Int).SetString(whole+fraction, 10)
	if width := max(len(digits), len(fraction), 1); ok && width <= maxDigits { // an exponent is no digit
		low := new(big.Int).And(unscaled, new(big.Int).SetUint64(1<<64-1)).Uint64()
		high := new(big.Int).Rsh(unscaled, 64).Int64()
		return duckdb.CreateDecimal(duckdb.NewDecimal(uint8(width), uint8(len(fraction)), duckdb.NewHugeInt(low, high)))
	}
	n, _ := strconv.ParseFloat(text, 64) // it is a number; one that is too large is infinite
	return duckdb.CreateDouble(n)
}

// commonType is that of a list's elements, NULLs aside.
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

func isInt64(text string) bool {
	_, err := strconv.ParseInt(text, 10, 64)
	return err == nil
}

func paramList(list []any, typ duckdb.Type) duckdb.Value {
	values := make([]duckdb.Value, len(list))
	for i, element := range list {
		if number, ok := element.(json.Number); ok && typ == duckdb.TypeDouble {
			n, _ := number.Float64() // one that is too large is infinite
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
