-- Creates the table of the changed rows with the values to store, so that the statements per tenant need not scan the
-- batch again.
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT staged.* EXCLUDE (line, reason, raw, suspect, unknown, deleted_at) REPLACE (kept_at AS _source_at), staged_row
FROM staged JOIN delta ON staged_row = staged.rowid WHERE outcome = 'changed';
