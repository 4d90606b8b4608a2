(SELECT tenant_id, id, created_at, deleted_at, _source_at, _hash, rowid AS staged_row, 1 AS place, _source_at AS as_new_as FROM staged WHERE tenant_id IN ({{tenants}}) AND raw IS NULL)
