-- Deletes all tombstones of a row but the newest.
DELETE FROM tombstones WHERE rowid IN (
    SELECT rowid FROM tombstones QUALIFY row_number() OVER (PARTITION BY dataset, id ORDER BY _seq DESC, rowid DESC) > 1);
