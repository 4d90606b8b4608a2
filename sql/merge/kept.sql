(SELECT id, created_at, _source_at, _hash, false AS tombstone FROM {{dataset}})
