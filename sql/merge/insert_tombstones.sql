INSERT INTO {{store}}.tombstones
SELECT {{dataset_name}}, id, kept_at, {{seq}} FROM delta WHERE tenant_id = {{tenant}}::UUID AND outcome IN ('deleted', 'deleted_unknown');
