-- Selects the number of ids that a dataset has more than once, and one of them.
SELECT count(*), min(id)::VARCHAR FROM (SELECT id FROM {{dataset}} GROUP BY id HAVING count(*) > 1);
