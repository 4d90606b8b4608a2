DELETE FROM {{store}}.tombstones WHERE dataset = {{dataset_name}} AND id IN (SELECT id FROM delta WHERE tenant_id = {{tenant}}::UUID AND outcome = 'revived');
