-- Selects the tables that the session's search path finds, with the object id and the estimated number of rows (0:
-- unknown), and their columns with the base type and whether the column may be read.
SELECT asked.name, coalesce(to_regclass(asked.name)::text, ''), coalesce(relation.oid, 0)::oid, coalesce(greatest(relation.reltuples, 0), 0)::bigint,
       coalesce(attname, ''), coalesce(coalesce(nullif(typbasetype, 0), pg_type.oid)::regtype::text, ''), coalesce(has_column_privilege(attrelid, attnum, 'SELECT'), false)
FROM unnest($1::text[]) AS asked (name)
LEFT JOIN pg_class AS relation ON relation.oid = to_regclass(asked.name)
LEFT JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_type ON pg_type.oid = atttypid
