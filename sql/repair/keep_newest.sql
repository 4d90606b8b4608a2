-- Deletes all versions of a row but the newest.
DELETE FROM {{dataset}} WHERE rowid IN (
    SELECT rowid FROM {{dataset}} QUALIFY row_number() OVER (PARTITION BY id ORDER BY _seq DESC, rowid DESC) > 1);
