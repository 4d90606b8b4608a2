-- Macros of the staging statements. They are created once, in the database of the instance itself.

CREATE MACRO digits(number) AS nullif(regexp_replace(number, '[^0-9]', '', 'g'), '');

-- Returns the customer that a number names: the digits of a phone number, and another text as it is. See Caller in
-- package schema.
CREATE MACRO caller(number) AS
    CASE WHEN regexp_full_match(number, '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*') THEN nullif(regexp_replace(number, '[^0-9]', '', 'g'), '')
         ELSE nullif(trim(number), '') END;

-- Reports whether a value that DuckDB accepts as JSON is JSON by the standard. DuckDB also accepts NaN, Inf and
-- Infinity in any case. A text in the value may look like one of these, so texts are removed before the second look.
-- CASE, unlike OR, evaluates that only for the few values that need it.
CREATE MACRO has_non_number(value) AS regexp_matches(value, '(?i)(^|[:,\[])\s*-?(nan|inf(inity)?)\s*([,\]}]|$)');
CREATE MACRO strict_json(value) AS
    CASE WHEN has_non_number(value) THEN NOT has_non_number(regexp_replace(value, '"(\\.|[^"\\])*"', '""', 'g')) ELSE value IS NOT NULL END;

-- Returns the time that a text states, or NULL if no column can hold it. The value depends on the text alone: DuckDB's
-- cast never sees the name of a time zone, because it would keep that zone for later rows. It reads the usual form
-- in a year that no offset moves out of range; the function parse_time reads all forms.
CREATE MACRO text_to_time(value) AS coalesce(
    CASE WHEN regexp_full_match(value, '(19[89]\d|2\d{3})-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-](0\d|1[0-7])(:[0-5]\d)?)?')
         THEN TRY_CAST(value AS TIMESTAMPTZ) END,
    CASE WHEN value IS NOT NULL THEN make_timestamptz(nullif(parse_time(value), 9223372036854775807)) END);

-- Returns the text of a field of a text column. A number has neither an exponent nor decimals that are zero, because
-- data frames write phone numbers and ids as floats; a number that is not finite is missing. The comparison selects the few texts that may be
-- such numbers. json_type, which is slow, then decides.
CREATE MACRO plain_text(value, line, path) AS
    CASE WHEN (value < ':' AND (contains(value, '.') OR contains(value, 'e') OR contains(value, 'E'))) OR value IN ('NaN', 'Infinity', '-Infinity')
         THEN CASE WHEN json_type(line, path) = 'VARCHAR' THEN value
                   WHEN ends_with(value, 'N') OR ends_with(value, 'y') THEN NULL
                   ELSE plain_number(value) END
         ELSE value END;

-- Returns the text of a field of a phone number, which is a number even if it is a JSON string: CSV has no types.
CREATE MACRO plain_phone(value, line, path) AS
    CASE WHEN value < ':' AND (contains(value, '.') OR contains(value, 'e') OR contains(value, 'E')) THEN plain_number(trim(value))
         ELSE plain_text(value, line, path) END;

-- Returns a JSON value. A JSON string that holds an object or a list is this object or list.
CREATE MACRO json_in_text(value) AS
    CASE WHEN starts_with(value, '"') AND regexp_matches(value ->> '$', '^\s*[\[{]') AND json_valid(value ->> '$') THEN json(value ->> '$')
         ELSE value END;

-- Returns a boolean, or NULL. A float of 0 or 1 is one, too.
CREATE MACRO text_to_boolean(value) AS
    coalesce(TRY_CAST(value AS BOOLEAN), CASE WHEN value IS NOT NULL THEN TRY_CAST(plain_number(value) AS BOOLEAN) END);

-- Returns the minutes of a number or duration from 0 to a maximum, or NULL. NaN is greater than every number.
CREATE MACRO text_to_minutes(value, most) AS
    CASE WHEN coalesce(TRY_CAST(value AS DOUBLE), CASE WHEN value IS NOT NULL THEN parse_duration(value) / 6e7 END) BETWEEN 0 AND most
         THEN coalesce(TRY_CAST(value AS DOUBLE), parse_duration(value) / 6e7) END;

-- Returns the whole seconds of a duration from 0 to a maximum, or NULL.
CREATE MACRO text_to_seconds(value, most) AS
    CASE WHEN coalesce(TRY_CAST(value AS INTEGER), CASE WHEN value IS NOT NULL THEN parse_duration(value) / 1e6 END) BETWEEN 0 AND most
         THEN coalesce(TRY_CAST(value AS INTEGER), round(parse_duration(value) / 1e6)::INTEGER) END;

-- Returns a JSON value without NaN and Infinity, which become null.
CREATE MACRO finite(value) AS
    CASE WHEN strict_json(value::VARCHAR) THEN value WHEN value IS NOT NULL THEN nullif(finite_json(value::VARCHAR), 'null')::JSON END;

-- Returns the JSON of a duration, and NULL if it is a number outside of 0 to a maximum.
CREATE MACRO plausible_duration(value, most) AS
    CASE WHEN TRY_CAST(trim(value::VARCHAR, '"') AS DOUBLE) NOT BETWEEN 0 AND most THEN NULL ELSE finite(value) END;

-- Reports whether a transcript may have parts that are not turns. The usual lists of objects with texts do not, and a text is one
-- turn at least. The function unknown_turns, which is slow, counts the parts of the others.
CREATE MACRO unusual_transcript(value) AS
    CASE WHEN value IS NULL OR starts_with(value, '"') OR value = '[]' THEN false
         WHEN starts_with(value, '[{') THEN NOT (contains(value, '"text":') OR contains(value, '"content":') OR contains(value, '"message":'))
         ELSE true END;
