-- Selects the number of rows of a relation and a hash of them that does not depend on their order. It reads every column.
SELECT count(*), coalesce(sum(hash(source)), 0)::VARCHAR FROM {{relation}} AS source;
