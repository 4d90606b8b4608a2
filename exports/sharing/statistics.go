package sharing

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A columnRange holds the values that a column can have in a file.
type columnRange struct {
	schema.Column
	values, nulls int64 // nulls is -1 if it is unknown
	// Bounds: int64 for numbers without fraction, booleans, days since 1970 and microseconds since 1970; float64 for
	// other numbers; string for texts; nil if the bound is unknown. The float64 of a decimal is the nearest one.
	lower, upper any

	lowerBytes, upperBytes []byte // in Iceberg's single-value serialization
}

// rangesOf returns the ranges of a file's columns by the name of the column, in lower case.
func rangesOf(export schema.Export, statistics map[int]iceberg.ColumnStatistics) map[string]columnRange {
	ranges := map[string]columnRange{}
	for _, column := range export.Columns {
		of, ok := statistics[column.ID]
		if !ok {
			continue
		}
		ranges[strings.ToLower(column.Name)] = columnRange{column, of.Values, of.Nulls,
			decode(column.Type, of.Lower), decode(column.Type, of.Upper), of.Lower, of.Upper}
	}
	return ranges
}

// decode returns the value of a bound of a column with the DuckDB type.
func decode(duckdb string, bound []byte) any {
	switch {
	case bound == nil:
		return nil
	case duckdb == "BOOLEAN":
		return int64(bound[0])
	case duckdb == "INTEGER", duckdb == "DATE":
		return int64(int32(binary.LittleEndian.Uint32(bound)))
	case duckdb == "BIGINT", duckdb == "TIMESTAMP WITH TIME ZONE":
		return int64(binary.LittleEndian.Uint64(bound))
	case duckdb == "DOUBLE":
		return math.Float64frombits(binary.LittleEndian.Uint64(bound))
	case strings.HasPrefix(duckdb, "DECIMAL("):
		nearest, _ := decimal(duckdb, bound).Float64()
		return nearest
	}
	return string(bound)
}

// decimal returns the value of a bound of a column of decimals.
func decimal(duckdb string, bound []byte) *big.Rat {
	unscaled := new(big.Int).SetBytes(bound)
	if bound[0] >= 0x80 {
		unscaled.Sub(unscaled, new(big.Int).Lsh(big.NewInt(1), uint(len(bound))*8))
	}
	scale := big.NewInt(int64(scaleOf(duckdb)))
	return new(big.Rat).SetFrac(unscaled, scale.Exp(big.NewInt(10), scale, nil))
}

// scaleOf returns the number of digits after the point of a type such as DECIMAL(10,4).
func scaleOf(duckdb string) int {
	_, digits, _ := strings.Cut(duckdb, ",")
	scale, err := strconv.Atoi(strings.TrimSuffix(digits, ")"))
	if err != nil {
		panic(err) // the types are those of the exports
	}
	return scale
}

// fileStatistics is the form of statistics in responses.
type fileStatistics struct {
	Rows  int64                      `json:"numRecords"`
	Lower map[string]json.RawMessage `json:"minValues"`
	Upper map[string]json.RawMessage `json:"maxValues"`
	Nulls map[string]int64           `json:"nullCount"`
}

// statisticsText returns the statistics of a file as JSON.
func statisticsText(rows int64, ranges map[string]columnRange) string {
	s := fileStatistics{rows, map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]int64{}}
	for _, r := range ranges {
		if r.nulls >= 0 {
			s.Nulls[r.Name] = r.nulls
		}
		if text := boundText(r.Type, r.lower, r.lowerBytes, false); text != nil {
			s.Lower[r.Name] = text
		}
		if text := boundText(r.Type, r.upper, r.upperBytes, true); text != nil {
			s.Upper[r.Name] = text
		}
	}
	return string(encode(s))
}

// boundText returns a bound in the JSON form of Delta, or nil if Delta has no form for it, as for booleans. Delta has
// times in milliseconds, so the time of an upper bound is rounded up.
func boundText(duckdb string, value any, bound []byte, upper bool) json.RawMessage {
	switch v := value.(type) {
	case int64:
		switch duckdb {
		case "BOOLEAN":
			return nil
		case "DATE":
			return timeText(time.Unix(v*24*3600, 0).UTC(), time.DateOnly)
		case "TIMESTAMP WITH TIME ZONE":
			at := time.UnixMicro(v).UTC()
			if lower := at.Truncate(time.Millisecond); upper && lower.Before(at) {
				at = lower.Add(time.Millisecond)
			}
			return timeText(at, "2006-01-02T15:04:05.000Z")
		}
		return encode(v)
	case float64:
		if strings.HasPrefix(duckdb, "DECIMAL(") {
			return json.RawMessage(decimal(duckdb, bound).FloatString(scaleOf(duckdb)))
		}
		if math.IsInf(v, 0) {
			return nil
		}
		return encode(v)
	case string:
		return encode(v)
	}
	return nil
}

// timeText returns a time as JSON, or nil if its year does not have four digits.
func timeText(at time.Time, layout string) json.RawMessage {
	if at.Year() < 1 || at.Year() > 9999 {
		return nil
	}
	return encode(at.Format(layout))
}
