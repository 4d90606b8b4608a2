SELECT {{tenant}}::UUID AS tenant_id, id, created_at, _source_at, _hash, false AS tombstone FROM {{store}}.{{dataset}}
UNION ALL SELECT {{tenant}}::UUID, id, NULL, deleted_at, NULL, true FROM {{store}}.tombstones WHERE dataset = {{dataset_name}}
