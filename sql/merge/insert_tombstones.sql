INSERT INTO {{store}}.tombstones BY NAME
SELECT {{dataset_name}} AS dataset, id, kept_at AS deleted_at, {{seq}} AS _seq, {{inferred}} AS inferred FROM delta WHERE tenant_id = {{tenant}}::UUID AND outcome IN ('deleted', 'deleted_unknown');
