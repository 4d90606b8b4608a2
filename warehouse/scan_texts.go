package warehouse

import (
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// scanTexts parses the columns of a row of [duckdb.Select] into the values that targets point to. NULL leaves the zero
// value. A time is a number of microseconds since 1970.
func scanTexts(row []sql.NullString, targets ...any) (err error) {
	if len(row) != len(targets) {
		return fmt.Errorf("got %d columns, want %d", len(row), len(targets))
	}
	for i, text := range row {
		if !text.Valid || err != nil {
			continue
		}
		switch target := targets[i].(type) {
		case *string:
			*target = text.String
		case *sql.NullString:
			*target = text
		case *bool:
			*target, err = strconv.ParseBool(text.String)
		case *int64:
			*target, err = strconv.ParseInt(text.String, 10, 64)
		case *sql.NullTime:
			var micros int64
			micros, err = strconv.ParseInt(text.String, 10, 64)
			*target = sql.NullTime{Time: time.UnixMicro(micros), Valid: true}
		case *uuid.NullUUID:
			target.Valid = true
			target.UUID, err = uuid.Parse(text.String)
		default:
			err = fmt.Errorf("column %d: cannot parse a text into %T", i, target)
		}
	}
	return err
}
