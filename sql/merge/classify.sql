-- What each staged row of some tenants means to what is kept: the rows of their tables and, where there are any, tombstones.
--   new, changed, unchanged
--   confirmed   unchanged, at a newer time of the source
--   moved       changed, and its created_at too
--   revived     newer than its tombstone
--   deleted     the deletion of a row of the table
--   deleted_unknown    the deletion of what is not there
--   redeleted   the deletion of what is deleted, at a newer time of the source
--   superseded  something newer is kept, or in the same batch; of the same time, a tombstone is the newer one
-- Of rows that come late (out of the quarantine), one without a time is older than anything that is kept.
-- Any other version without a time counts as the newest so far and takes that one's time over: the table's row is then time_changed.
CREATE OR REPLACE TEMP TABLE delta AS
SELECT * EXCLUDE (_source_at), outcome = 'confirmed' OR (outcome IN ('new', 'revived', 'moved') AND _source_at IS DISTINCT FROM kept_at) AS time_changed
FROM (
    SELECT staged_row, mine.tenant_id, mine.id, mine.created_at, kept.created_at AS kept_created_at,
           mine._source_at, coalesce(mine._source_at, greatest(as_new_as, kept._source_at)) AS kept_at,
           CASE WHEN place > 1 OR {{late}} AND mine._source_at IS NULL AND kept.id IS NOT NULL AND kept._hash IS DISTINCT FROM mine._hash THEN 'superseded'
                WHEN deleted_at IS NOT NULL THEN
                     CASE WHEN kept.id IS NULL THEN 'deleted_unknown'
                          WHEN tombstone AND mine._source_at > kept._source_at THEN 'redeleted'
                          WHEN tombstone THEN 'unchanged'
                          WHEN mine._source_at < kept._source_at THEN 'superseded'
                          ELSE 'deleted' END
                WHEN kept.id IS NULL THEN 'new'
                WHEN tombstone THEN CASE WHEN mine._source_at <= kept._source_at THEN 'superseded' ELSE 'revived' END
                WHEN kept._hash = mine._hash THEN CASE WHEN as_new_as > coalesce(kept._source_at, '-infinity') THEN 'confirmed' ELSE 'unchanged' END
                WHEN mine._source_at < kept._source_at THEN 'superseded'
                WHEN kept.created_at <> mine.created_at THEN 'moved'
                ELSE 'changed' END AS outcome
    FROM {{versions}} AS mine LEFT JOIN {{kept}} AS kept ON kept.id = mine.id AND kept.tenant_id = mine.tenant_id);
