-- Updates the time of existing tombstones, which are then explicit. The commit number stays, because readers of the change feed have seen the
-- deletion.
UPDATE {{store}}.tombstones AS stored SET deleted_at = delta.kept_at, inferred = false
FROM delta WHERE delta.tenant_id = {{tenant}}::UUID AND outcome = 'redeleted' AND stored.dataset = {{dataset_name}} AND stored.id = delta.id;
