-- Classifies the staged rows of some tenants by comparing them with the stored rows and tombstones. The outcomes are:
-- - new, changed, unchanged.
-- - confirmed: unchanged, with a newer source time.
-- - moved: changed, including its created_at.
-- - revived: newer than its tombstone, or its deletion was only inferred.
-- - deleted: deletes a stored row.
-- - deleted_unknown: deletes a row that is not stored; its tombstone prevents an older version from being inserted
--   later.
-- - redeleted: deletes a row that is already deleted, with a newer source time, or explicitly after it was inferred.
-- - superseded: a newer version is stored or in the same batch. Of equal source times, a tombstone is newer than a row.
-- If the batch is inferred, all deletions of the batch were inferred from the absence of their rows. The tombstone of an
-- inferred deletion has no source time: it keeps no row out.
-- A late row (from the quarantine) without a source time is older than any stored row. Any other row without a source
-- time counts as the newest version so far and adopts the time of that version. time_changed is then set, and the
-- stored source time is updated.
CREATE OR REPLACE TEMP TABLE delta AS
SELECT * EXCLUDE (_source_at), outcome = 'confirmed' OR (outcome IN ('new', 'revived', 'moved') AND _source_at IS DISTINCT FROM kept_at) AS time_changed
FROM (
    SELECT staged_row, mine.tenant_id, mine.id, mine.created_at, kept.created_at AS kept_created_at,
           mine._source_at, coalesce(mine._source_at, greatest(as_new_as, kept._source_at)) AS kept_at,
           CASE WHEN place > 1 OR {{late}} AND mine._source_at IS NULL AND kept.id IS NOT NULL AND kept._hash IS DISTINCT FROM mine._hash THEN 'superseded'
                WHEN deleted_at IS NOT NULL THEN
                     CASE WHEN kept.id IS NULL THEN CASE WHEN {{inferred}} THEN 'unchanged' ELSE 'deleted_unknown' END
                          WHEN tombstone AND NOT {{inferred}} AND (kept.inferred OR mine._source_at > kept._source_at) THEN 'redeleted'
                          WHEN tombstone THEN 'unchanged'
                          WHEN mine._source_at < kept._source_at THEN 'superseded'
                          ELSE 'deleted' END
                WHEN kept.id IS NULL THEN 'new'
                WHEN tombstone THEN CASE WHEN NOT kept.inferred AND mine._source_at <= kept._source_at THEN 'superseded' ELSE 'revived' END
                WHEN kept._hash = mine._hash THEN CASE WHEN as_new_as > coalesce(kept._source_at, '-infinity') THEN 'confirmed' ELSE 'unchanged' END
                WHEN mine._source_at < kept._source_at THEN 'superseded'
                WHEN kept.created_at <> mine.created_at THEN 'moved'
                ELSE 'changed' END AS outcome
    FROM {{versions}} AS mine LEFT JOIN {{kept}} AS kept ON kept.id = mine.id AND kept.tenant_id = mine.tenant_id);
