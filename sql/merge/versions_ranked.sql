-- Ranks the versions of each id; place 1 is the newest. Only ids that occur twice need the window function. A version
-- without a source time is as new as the newest version before it in the batch.
(WITH mine AS (
    SELECT tenant_id, id, line, created_at, deleted_at, _source_at, _hash, rowid AS staged_row FROM staged WHERE tenant_id IN ({{tenants}}) AND raw IS NULL
), twice AS (
    SELECT tenant_id, id FROM mine GROUP BY ALL HAVING count(*) > 1
), ranked AS (
    SELECT staged_row, as_new_as, row_number() OVER (PARTITION BY tenant_id, id ORDER BY as_new_as DESC NULLS LAST, line DESC) AS place
    FROM (SELECT staged_row, tenant_id, id, line, coalesce(_source_at, max(_source_at) OVER (PARTITION BY tenant_id, id ORDER BY line)) AS as_new_as FROM mine SEMI JOIN twice USING (tenant_id, id))
)
SELECT mine.*, coalesce(place, 1) AS place, coalesce(_source_at, as_new_as) AS as_new_as FROM mine LEFT JOIN ranked ON ranked.staged_row = mine.staged_row)
