-- Deletes the staged rows of a tenant that an erasure or the retention of the dataset keeps out.
DELETE FROM staged WHERE tenant_id = {{tenant}}::UUID AND raw IS NULL AND ({{expired}} OR rowid IN ({{covered}}));
