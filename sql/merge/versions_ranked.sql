-- The newest version of an id has the first place; only ids that occur twice pay for a window. A version without a time is
-- as new as the newest before it.
(WITH mine AS (
    SELECT *, rowid AS staged_row FROM staged WHERE tenant_id = {{tenant}}::UUID AND raw IS NULL
), twice AS (
    SELECT id FROM mine GROUP BY id HAVING count(*) > 1
), ranked AS (
    SELECT staged_row, as_new_as, row_number() OVER (PARTITION BY id ORDER BY as_new_as DESC NULLS LAST, line DESC) AS place
    FROM (SELECT staged_row, id, line, coalesce(_source_at, max(_source_at) OVER (PARTITION BY id ORDER BY line)) AS as_new_as FROM mine WHERE id IN (FROM twice))
)
SELECT mine.*, coalesce(place, 1) AS place, coalesce(_source_at, as_new_as) AS as_new_as FROM mine LEFT JOIN ranked ON ranked.staged_row = mine.staged_row)
