-- Sorted, so that pages and months read few row groups.
INSERT INTO {{dataset}} BY NAME
SELECT staged.* EXCLUDE (tenant_id, line, reason, raw), (SELECT seq FROM clock) AS _seq
FROM staged JOIN delta ON delta.staged_row = staged.rowid WHERE outcome IN ('new', 'moved')
ORDER BY staged.created_at, staged.id;
