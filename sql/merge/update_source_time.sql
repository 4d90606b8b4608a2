-- The rows are kept at another time of the source than they were, or came without one: what comes with a time between is older now.
UPDATE {{store}}.{{dataset}} AS stored SET _source_at = delta.kept_at
FROM delta WHERE tenant_id = {{tenant}}::UUID AND time_changed AND stored.id = delta.id AND stored.created_at = delta.created_at;
