-- Sorted, so that rows of one month, which are all over the batch, are read together again.
INSERT INTO {{dataset}} BY NAME
SELECT * EXCLUDE (tenant_id, line, reason, raw, suspect), (SELECT seq FROM clock) AS _seq FROM staged
WHERE rowid IN (SELECT staged_row FROM delta WHERE outcome IN ('new', 'moved'))
ORDER BY created_at, id;
