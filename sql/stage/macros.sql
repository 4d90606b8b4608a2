-- Macros of the staging statements. They are created once, in the database of the instance itself.

CREATE MACRO digits(number) AS nullif(regexp_replace(number, '[^0-9]', '', 'g'), '');

-- Converts a text column to JSON. A text that is not valid JSON becomes a JSON string.
CREATE MACRO text_to_json(value) AS
    CASE WHEN trim(value) IN ('', 'null') THEN NULL WHEN json_valid(value) THEN json(value) ELSE to_json(value) END;

-- Reports whether a value is JSON by the standard. DuckDB also accepts the numbers NaN and Infinity. CASE, unlike OR,
-- evaluates the regular expression only for the few values that need it.
CREATE MACRO strict_json(value) AS
    CASE WHEN contains(value, 'NaN') OR contains(value, 'Infinity')
         THEN NOT regexp_matches(regexp_replace(value, '"(\\.|[^"\\])*"', '', 'g'), 'NaN|Infinity')
         ELSE value IS NOT NULL END;

-- Reports whether a time is in a year from 1970 to 9999. Months become folder names, which need years of four digits.
CREATE MACRO plausible(moment) AS
    moment BETWEEN TIMESTAMPTZ '1970-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00';
