SELECT {{tenant}}::UUID AS tenant_id, id, _source_at FROM {{store}}.{{dataset}}
