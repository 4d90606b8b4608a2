-- Selects the number of rows of a relation and a hash of them that does not depend on their order. It reads every
-- column. The alias stands for the whole row, because no column has its name.
SELECT count(*), coalesce(sum(hash(_fingerprint)), 0)::VARCHAR FROM {{relation}} AS _fingerprint;
