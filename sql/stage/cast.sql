-- Casts the untyped rows, for the table staged. A row with deleted_at only states that its source deleted it. A row is
-- suspicious if a value is missing or differs from its untyped value. It counts as refused at first, until other
-- statements decide; most batches never need that.
WITH typed AS (
    SELECT line, raw, defect, unknown, tenant, {{typed}} FROM ({{untyped}}) AS untyped
), checked AS (
    SELECT *, coalesce(tenant::UUID, user_id) AS tenant_id, coalesce(deleted_at, updated_at) AS _source_at,
           defect IS NOT NULL OR id IS NULL OR coalesce(created_at, deleted_at) IS NULL
           OR tenant_id IS NULL OR (tenant_id <> user_id) IS TRUE OR {{suspicious}} AS suspicious
    FROM typed
)
SELECT tenant_id, line, {{stored}}, {{derived}} AS customer_number, deleted_at, _source_at, hash({{stored}}) AS _hash,
       NULL::VARCHAR AS reason, CASE WHEN suspicious THEN coalesce(raw, '') END AS raw, defect, unknown
FROM checked
