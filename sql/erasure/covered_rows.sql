-- Selects the rows of a relation that the list of a tenant covers: a row whose id was erased, and a row of an erased
-- number or customer that was created until the erasure. Rows that were created later are new records.
SELECT DISTINCT place
FROM (SELECT place, id, created_at, key, unnest((SELECT list(DISTINCT salt) FROM {{list}} WHERE tenant_id = {{tenant}}::UUID)) AS salt
      FROM (SELECT rowid AS place, id, created_at, unnest({{keys}}) AS key FROM {{rows}} WHERE {{condition}})
      WHERE key IS NOT NULL) AS held
JOIN {{list}} AS listed ON listed.hash = left(sha256(held.salt || key), 32)::UUID AND listed.salt = held.salt
WHERE listed.tenant_id = {{tenant}}::UUID AND (key = 'row:' || {{dataset_name}} || ':' || id::VARCHAR OR created_at <= until)
