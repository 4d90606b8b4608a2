-- In place, so that the table stays in its order; joined on created_at too, which prunes row groups.
MERGE INTO {{dataset}} AS stored
USING (SELECT * EXCLUDE (tenant_id, line, reason, raw, suspect), (SELECT seq FROM clock) AS _seq FROM staged
       WHERE rowid IN (SELECT staged_row FROM delta WHERE outcome = 'changed')) AS fresh
ON stored.id = fresh.id AND stored.created_at = fresh.created_at
WHEN MATCHED THEN UPDATE BY NAME;
