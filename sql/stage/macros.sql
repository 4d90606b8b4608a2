-- Macros of the staging statements. They are created once, in the database of the instance itself.

CREATE MACRO digits(number) AS nullif(regexp_replace(number, '[^0-9]', '', 'g'), '');

-- Reports whether a value is JSON by the standard. DuckDB also accepts the numbers NaN and Infinity. CASE, unlike OR,
-- evaluates the regular expression only for the few values that need it.
CREATE MACRO strict_json(value) AS
    CASE WHEN contains(value, 'NaN') OR contains(value, 'Infinity')
         THEN NOT regexp_matches(regexp_replace(value, '"(\\.|[^"\\])*"', '', 'g'), 'NaN|Infinity')
         ELSE value IS NOT NULL END;

-- Returns the time that a text states, or NULL if no column can hold it. The value depends on the text alone: DuckDB's
-- cast never sees the name of a time zone, because it would keep that zone for later rows. It reads the usual form
-- in a year that no offset moves out of range; the function parse_time reads all forms.
CREATE MACRO text_to_time(value) AS coalesce(
    CASE WHEN regexp_full_match(value, '(19[89]\d|2\d{3})-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-](0\d|1[0-7])(:[0-5]\d)?)?')
         THEN TRY_CAST(value AS TIMESTAMPTZ) END,
    CASE WHEN value IS NOT NULL THEN make_timestamptz(nullif(parse_time(value), 9223372036854775807)) END);
