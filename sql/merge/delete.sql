-- Deletes stored rows. The join on created_at allows DuckDB to skip row groups.
DELETE FROM {{store}}.{{dataset}} AS stored USING delta
WHERE tenant_id = {{tenant}}::UUID AND outcome IN ('moved', 'deleted') AND stored.id = delta.id AND stored.created_at = delta.kept_created_at;
