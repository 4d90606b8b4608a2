-- In place, so that the table stays in its order; joined on created_at too, which prunes row groups.
MERGE INTO {{store}}.{{dataset}} AS stored
USING (SELECT staged.* EXCLUDE (tenant_id, line, reason, raw, suspect, unknown, deleted_at) REPLACE (kept_at AS _source_at), (SELECT seq FROM {{store}}.clock) - staged.rowid // 2048 AS _seq
       FROM staged JOIN delta ON delta.staged_row = staged.rowid WHERE staged.tenant_id = {{tenant}}::UUID AND outcome = 'changed') AS fresh
ON stored.id = fresh.id AND stored.created_at = fresh.created_at
WHEN MATCHED THEN UPDATE BY NAME;
