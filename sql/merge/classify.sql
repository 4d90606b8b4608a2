-- What each staged row of the tenant means to its table.
--   new, changed, unchanged
--   confirmed   unchanged, at a newer time of the source
--   moved       changed, and its created_at too
--   superseded  a newer version of the row is in the table, or in the same batch
-- Only ids that occur twice in the batch pay for a window.
CREATE OR REPLACE TEMP TABLE delta AS
WITH mine AS (
    SELECT rowid AS staged_row, id, created_at, line, _source_at, _hash FROM staged WHERE tenant_id = {{tenant}}::UUID AND raw IS NULL
), twice AS (
    SELECT id FROM mine GROUP BY id HAVING count(*) > 1
), beaten AS (
    -- A version without a time is as new as the newest before it.
    SELECT staged_row
    FROM (SELECT *, coalesce(_source_at, max(_source_at) OVER (PARTITION BY id ORDER BY line)) AS as_new_as FROM mine WHERE id IN (FROM twice))
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY as_new_as DESC NULLS LAST, line DESC) > 1
)
SELECT mine.staged_row, mine.id,
       CASE WHEN mine.staged_row IN (FROM beaten) THEN 'superseded'
            WHEN stored.id IS NULL THEN 'new'
            WHEN stored._hash = mine._hash AND mine._source_at > stored._source_at THEN 'confirmed'
            WHEN stored._hash = mine._hash THEN 'unchanged'
            WHEN mine._source_at < stored._source_at THEN 'superseded'
            WHEN stored.created_at <> mine.created_at THEN 'moved'
            ELSE 'changed' END AS outcome,
       mine.created_at, mine._source_at, stored.created_at AS stored_created_at, stored._source_at AS stored_source_at
FROM mine LEFT JOIN {{dataset}} AS stored ON stored.id = mine.id;
