-- Casts the untyped rows, for the table staged. A row with deleted_at only states that its source deleted it. A row is
-- suspicious if a value is missing or differs from its untyped value. It counts as refused at first, and keeps its
-- untyped values, from which other statements decide; most batches never need that. They are kept in a list, because
-- the columns of a struct use memory in all rows: 37 of 128 MB for 62,000 calls.
WITH typed AS (
    SELECT line, raw, defect, unknown, untyped, tenant, {{typed}}
    FROM (SELECT line, raw, defect, unknown, untyped, tenant FROM ({{untyped}}) AS untyped)
), checked AS (
    SELECT *, coalesce(tenant::UUID, user_id) AS tenant_id, coalesce(deleted_at, updated_at) AS _source_at,
           defect IS NOT NULL OR id IS NULL OR coalesce(created_at, deleted_at) IS NULL
           OR tenant_id IS NULL OR (tenant_id <> user_id) IS TRUE OR {{suspicious}} AS suspicious
    FROM typed
)
SELECT tenant_id, line, {{stored}}, {{derived}} AS customer_number, deleted_at, _source_at, hash({{stored}}) AS _hash,
       NULL::VARCHAR AS reason, CASE WHEN suspicious THEN coalesce(raw, '') END AS raw,
       CASE WHEN suspicious THEN [untyped] END AS suspect, unknown
FROM checked
