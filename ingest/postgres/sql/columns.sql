-- Selects the tables that the session's search path finds, with the object id and the estimated number of rows (0:
-- unknown), and their columns with the type and whether the column may be read. A column whose type is a domain has the
-- base type of the domain.
SELECT asked.name, coalesce(to_regclass(asked.name)::text, ''), coalesce(relation.oid, 0)::oid, coalesce(greatest(relation.reltuples, 0), 0)::bigint,
       coalesce(attname, ''), coalesce(base.oid::regtype::text, ''), coalesce(has_column_privilege(attrelid, attnum, 'SELECT'), false)
FROM unnest($1::text[]) AS asked (name)
LEFT JOIN pg_class AS relation ON relation.oid = to_regclass(asked.name)
LEFT JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN LATERAL (
    WITH RECURSIVE chain AS (SELECT atttypid AS oid UNION ALL SELECT typbasetype FROM chain JOIN pg_type USING (oid) WHERE typbasetype <> 0)
    SELECT oid FROM chain JOIN pg_type USING (oid) WHERE typbasetype = 0
) AS base ON true
ORDER BY asked.name, attnum
