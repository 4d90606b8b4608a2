-- Sorted, so that rows of one month, which are all over the batch, are read together again.
INSERT INTO {{dataset}} BY NAME
SELECT * EXCLUDE (tenant_id, line, reason, raw, suspect, deleted_at), (SELECT seq FROM clock) AS _seq FROM staged
WHERE rowid IN (SELECT staged_row FROM delta WHERE outcome IN ('new', 'revived', 'moved'))
ORDER BY created_at, id;
