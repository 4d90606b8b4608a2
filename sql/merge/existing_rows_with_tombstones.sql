SELECT {{tenant}}::UUID AS tenant_id, id, created_at, _source_at, _hash, false AS tombstone, false AS inferred FROM {{store}}.{{dataset}}
UNION ALL SELECT {{tenant}}::UUID, id, NULL, CASE WHEN NOT inferred THEN deleted_at END, NULL, true, inferred FROM {{store}}.tombstones WHERE dataset = {{dataset_name}}
