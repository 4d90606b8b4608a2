INSERT INTO {{store}}.tombstones
SELECT {{dataset_name}}, id, kept_at, (SELECT seq FROM {{store}}.clock) FROM delta WHERE tenant_id = {{tenant}}::UUID AND outcome IN ('deleted', 'foretold');
