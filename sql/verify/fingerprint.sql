-- Selects the number of rows of a relation and a hash of them that does not depend on their order. It reads every column.
-- No column has the name of the alias, which would otherwise be the column.
SELECT count(*), coalesce(sum(hash(_fingerprint)), 0)::VARCHAR FROM {{relation}} AS _fingerprint;
