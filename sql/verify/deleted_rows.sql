-- Selects the number of ids that a dataset has as a row and as a tombstone, or as several tombstones, and one of them.
SELECT count(*), min(id)::VARCHAR FROM (
    SELECT id FROM tombstones WHERE dataset = {{dataset_name}} AND id IN (SELECT id FROM {{dataset}})
    UNION
    SELECT id FROM tombstones WHERE dataset = {{dataset_name}} GROUP BY id HAVING count(*) > 1);
