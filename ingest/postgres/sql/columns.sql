-- The tables that are there, as the session's search path finds them, about how many rows each has (0: not known), and their
-- columns with the types beneath their domains, and whether they may be read.
SELECT asked.name, coalesce(to_regclass(asked.name)::text, ''), coalesce(greatest(relation.reltuples, 0), 0)::bigint,
       coalesce(attname, ''), coalesce(coalesce(nullif(typbasetype, 0), pg_type.oid)::regtype::text, ''), coalesce(has_column_privilege(attrelid, attnum, 'SELECT'), false)
FROM unnest($1::text[]) AS asked (name)
LEFT JOIN pg_class AS relation ON relation.oid = to_regclass(asked.name)
LEFT JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_type ON pg_type.oid = atttypid
