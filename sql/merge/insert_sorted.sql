-- Inserts the new rows sorted by created_at, because rows of one month are spread over the batch and are later read
-- together.
INSERT INTO {{store}}.{{dataset}} BY NAME
SELECT staged.* EXCLUDE (tenant_id, line, reason, raw, defect, unknown, deleted_at), {{seq}} - place // 2048 AS _seq
FROM staged JOIN (SELECT staged_row, row_number() OVER (ORDER BY created_at, id) - 1 AS place FROM delta WHERE tenant_id = {{tenant}}::UUID AND outcome IN ('new', 'revived', 'moved'))
ON staged_row = staged.rowid
WHERE tenant_id = {{tenant}}::UUID
ORDER BY place;
