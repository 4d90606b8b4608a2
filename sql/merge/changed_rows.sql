-- Selects the changed rows with the values to store.
SELECT staged.* EXCLUDE (line, reason, raw, defect, unknown, deleted_at) REPLACE (kept_at AS _source_at), staged_row
FROM staged JOIN delta ON staged_row = staged.rowid WHERE outcome = 'changed'
