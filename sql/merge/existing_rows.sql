SELECT {{tenant}}::UUID AS tenant_id, id, created_at, _source_at, _hash, false AS tombstone, false AS inferred FROM {{store}}.{{dataset}}
