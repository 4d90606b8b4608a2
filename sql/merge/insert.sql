-- Inserts the new rows unsorted. A batch that covers some weeks is one row group, so that sorting it would not help to
-- skip row groups.
INSERT INTO {{store}}.{{dataset}} BY NAME
SELECT * EXCLUDE (tenant_id, line, reason, raw, defect, unknown, deleted_at), {{seq}} - (rowid - {{first_row}}) // 2048 AS _seq FROM staged
WHERE tenant_id = {{tenant}}::UUID AND rowid IN (SELECT staged_row FROM delta WHERE outcome IN ('new', 'revived', 'moved'));
