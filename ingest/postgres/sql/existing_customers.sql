-- Selects which of the ids $1 are ids of customers of any tenant.
SELECT DISTINCT id::text FROM {{customers}} WHERE id::text = ANY($1)
