-- Inserts all rows into an empty table, so that none need be looked up.
INSERT INTO {{store}}.{{dataset}} BY NAME
SELECT * EXCLUDE (tenant_id, line, reason, raw, defect, unknown, deleted_at), {{seq}} - (rowid - {{first_row}}) // 2048 AS _seq FROM staged
WHERE tenant_id = {{tenant}}::UUID AND raw IS NULL;
