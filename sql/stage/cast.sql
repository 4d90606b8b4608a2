-- The loose rows, typed. With deleted_at, a row says no more than that its source has deleted it then. A row in which something
-- did not become what its column holds, or is missing, is faulty: it keeps its loose values, so that the reasons can be told
-- by a statement of their own, which most batches never need. A list of them, since the columns of a
-- struct take place in rows that have none: 37 MB of the 128 that 62,000 calls took.
CREATE TABLE staged AS
WITH typed AS (
    SELECT line, raw, defect, unknown, loose, {{typed}} FROM (SELECT line, raw, defect, unknown, loose FROM ({{loose}}) AS loose)
), checked AS (
    SELECT *, coalesce({{tenant}}, user_id) AS tenant_id, coalesce(deleted_at, updated_at) AS _source_at,
           defect IS NOT NULL OR id IS NULL OR coalesce(created_at, deleted_at) IS NULL
           OR tenant_id IS NULL OR (tenant_id <> user_id) IS TRUE OR {{faults}} AS faulty
    FROM typed
)
SELECT tenant_id, line, {{stored}}, {{derived}} AS customer_number, deleted_at, _source_at, hash({{stored}}) AS _hash,
       NULL::VARCHAR AS reason, CASE WHEN faulty THEN coalesce(CASE WHEN typeof(raw) = 'VARCHAR' THEN raw::VARCHAR ELSE to_json(raw)::VARCHAR END, '') END AS raw, CASE WHEN faulty THEN [loose] END AS suspect, unknown
FROM checked;
