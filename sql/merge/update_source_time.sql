-- Updates the source time of stored rows that were confirmed by a newer version, or inserted without a time of their
-- own.
UPDATE {{store}}.{{dataset}} AS stored SET _source_at = delta.kept_at
FROM delta WHERE tenant_id = {{tenant}}::UUID AND time_changed AND stored.id = delta.id AND stored.created_at = delta.created_at;
