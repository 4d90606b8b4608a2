(SELECT id, created_at, _source_at, _hash, false AS tombstone FROM {{dataset}}
 UNION ALL SELECT id, NULL, deleted_at, NULL, true FROM tombstones WHERE dataset = {{dataset_name}})
