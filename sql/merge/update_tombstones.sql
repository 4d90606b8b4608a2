-- The rows are as deleted as they were: nobody need hear of it.
UPDATE {{store}}.tombstones AS stored SET deleted_at = delta.kept_at
FROM delta WHERE delta.tenant_id = {{tenant}}::UUID AND outcome = 'redeleted' AND stored.dataset = {{dataset_name}} AND stored.id = delta.id;
