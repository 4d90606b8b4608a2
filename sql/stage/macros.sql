-- What the staging statements share. Temporary: they belong to the loading connection, not to a tenant's file.

-- An absent text: the empty one counts as absent where a column is not text itself.
CREATE OR REPLACE TEMP MACRO given(loose) AS nullif(trim(loose), '');

-- A moment, in UTC where it names no zone. Months become folder names, so only years of four digits pass.
CREATE OR REPLACE TEMP MACRO moment(loose) AS
    CASE WHEN TRY_CAST(given(loose) AS TIMESTAMPTZ) BETWEEN TIMESTAMPTZ '1970-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59+00'
         THEN TRY_CAST(given(loose) AS TIMESTAMPTZ) END;

CREATE OR REPLACE TEMP MACRO digits(number) AS nullif(regexp_replace(number, '[^0-9]', '', 'g'), '');

-- Why a value was refused; NULL where it was not.
CREATE OR REPLACE TEMP MACRO refusal(field, loose, typed, kind) AS
    CASE WHEN typed IS NULL AND given(loose) IS NOT NULL
         THEN field || ' is no ' || kind || ': ' || left(loose, 80) END;

CREATE OR REPLACE TEMP MACRO missing(field, typed, loose) AS
    CASE WHEN typed IS NULL AND given(loose) IS NULL THEN field || ' is missing' END;

-- Rows belong to the tenant that the load is for, else to the one they name; both, and different, is a mix-up.
CREATE OR REPLACE TEMP MACRO refused_tenant(tenant, user_id) AS
    CASE WHEN tenant IS NULL AND given(user_id) IS NULL THEN 'user_id (the tenant) is missing'
         WHEN TRY_CAST(given(user_id) AS UUID) IS NULL AND given(user_id) IS NOT NULL THEN 'user_id is no UUID: ' || left(user_id, 80)
         WHEN tenant <> TRY_CAST(given(user_id) AS UUID) THEN 'user_id is another tenant''s: ' || left(user_id, 80) END;

-- JSON that arrives as a text column: what does not parse is a text itself.
CREATE OR REPLACE TEMP MACRO loose_json(value) AS
    CASE WHEN given(value) IS NULL THEN NULL WHEN json_valid(value) THEN value::JSON ELSE to_json(value) END;
