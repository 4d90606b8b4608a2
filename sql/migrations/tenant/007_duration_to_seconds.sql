-- Seconds of a duration as before, but of the JSON's text: ->> takes as long as all the rest. An escape in it is then none of the texts. '0' || is
-- for what is not there, and shorter to plan than coalesce.
CREATE OR REPLACE MACRO duration_to_seconds(duration) AS TRY_CAST(round(coalesce(
    TRY_CAST(trim(duration::VARCHAR, ' "') AS DOUBLE),
    CASE WHEN regexp_full_match(trim(duration::VARCHAR, ' "'), '(\d+\s*h)?\s*(\d+\s*m)?\s*(\d+\s*s)?') AND trim(duration::VARCHAR, ' "') <> ''
         THEN TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*h', 1) AS DOUBLE) * 3600
            + TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*m', 1) AS DOUBLE) * 60
            + TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*s', 1) AS DOUBLE)
         WHEN regexp_full_match(trim(duration::VARCHAR, ' "'), '(\d+:)?\d{1,2}:\d{2}')
         THEN TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+):\d+:', 1) AS DOUBLE) * 3600
            + TRY_CAST(regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+):\d+$', 1) AS DOUBLE) * 60
            + TRY_CAST(regexp_extract(trim(duration::VARCHAR, ' "'), '\d+$') AS DOUBLE)
    END)) AS INTEGER);
