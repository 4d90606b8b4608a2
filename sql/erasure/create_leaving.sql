-- Creates the table of the rows of a dataset that are to be erased.
CREATE OR REPLACE TEMP TABLE leaving AS
SELECT rowid AS place, id, created_at FROM {{rows}} WHERE {{expired}} OR rowid IN ({{covered}});
