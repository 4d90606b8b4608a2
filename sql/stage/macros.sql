-- What the staging statements share; made once, in the database of the instance itself.

CREATE MACRO digits(number) AS nullif(regexp_replace(number, '[^0-9]', '', 'g'), '');

-- JSON that arrives as a text column: what does not parse is a text itself.
CREATE MACRO loose_json(value) AS
    CASE WHEN trim(value) IN ('', 'null') THEN NULL WHEN json_valid(value) THEN json(value) ELSE to_json(value) END;

-- DuckDB's JSON may hold numbers that JSON has not: NaN and Infinity, outside of its texts. CASE, unlike OR, looks closely
-- only at the few values that need it.
CREATE MACRO strict_json(value) AS
    CASE WHEN contains(value, 'NaN') OR contains(value, 'Infinity')
         THEN NOT regexp_matches(regexp_replace(value, '"(\\.|[^"\\])*"', '', 'g'), 'NaN|Infinity')
         ELSE value IS NOT NULL END;

-- Months become folder names, so only years of four digits pass.
CREATE MACRO plausible(moment) AS
    moment BETWEEN TIMESTAMPTZ '1970-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00';
