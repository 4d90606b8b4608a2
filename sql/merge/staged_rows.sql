-- Selects of each staged row: its tenant, its id, its created_at in microseconds, whether it is refused and whether it
-- is a deletion, its unknown fields as JSON, and its number.
SELECT tenant_id, id, epoch_us(created_at), raw IS NOT NULL, deleted_at IS NOT NULL, CASE WHEN unknown IS NOT NULL THEN to_json(unknown)::VARCHAR END, rowid
FROM staged;
