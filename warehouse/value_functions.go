package warehouse

import (
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/values"
)

// ValueFunctions are the SQL functions that read the values of rows. The macros of tenants' files use them, so an
// instance needs them to read a file. They are called for the few values that DuckDB's own casts do not read. A call
// takes about a microsecond.
var ValueFunctions = []duckdb.TextFunction{
	// parse_time returns microseconds since 1970, values.OutOfRange, or NULL if the text is not a time.
	{Name: "parse_time", Integer: true, Value: func(text string) any {
		if micros, ok := values.ParseTime(text); ok {
			return micros
		}
		return nil
	}},
	// parse_duration returns microseconds, or NULL if the text is not a duration.
	{Name: "parse_duration", Integer: true, Value: func(text string) any {
		const longest = 1e12 // seconds; any implausible duration serves
		if seconds, ok := values.ParseDuration(text); ok {
			return int64(max(-longest, min(seconds, longest)) * 1e6)
		}
		return nil
	}},
	// parse_turns returns the turns of a transcript as a JSON list, or NULL if no part of it is a turn.
	{Name: "parse_turns", Value: func(text string) any {
		turns, unknown := values.Turns(text)
		if turns == "[]" && unknown > 0 {
			return nil
		}
		return turns
	}},
	// unknown_turns returns the number of parts of a transcript that are not turns.
	{Name: "unknown_turns", Integer: true, Value: func(text string) any {
		_, unknown := values.Turns(text)
		return int64(unknown)
	}},
	{Name: "finite_json", Value: func(text string) any { return values.FiniteJSON(text) }},
	{Name: "plain_number", Value: func(text string) any { return values.PlainNumber(text) }},
}
