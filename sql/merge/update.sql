-- Updates the changed rows in place, which preserves the order of the table. The join on created_at allows DuckDB to
-- skip row groups.
UPDATE {{store}}.{{dataset}} AS stored SET {{columns}}, _seq = {{seq}} - (fresh.staged_row - {{first_row}}) // 2048
FROM {{changed_rows}} AS fresh WHERE fresh.tenant_id = {{tenant}}::UUID AND stored.id = fresh.id AND stored.created_at = fresh.created_at;
