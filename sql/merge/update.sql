-- In place, so that the table stays in its order; joined on created_at too, which prunes row groups.
UPDATE {{store}}.{{dataset}} AS stored SET {{columns}}, _seq = {{seq}} - fresh.staged_row // 2048
FROM fresh WHERE fresh.tenant_id = {{tenant}}::UUID AND stored.id = fresh.id AND stored.created_at = fresh.created_at;
