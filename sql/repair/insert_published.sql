-- Inserts the rows of published files that the store has neither as rows nor as tombstones. They get new numbers in the
-- change feed, in the order of their creation.
INSERT INTO {{dataset}} BY NAME
SELECT *, hash({{stored}}) AS _hash, {{seq}} + 1 + (row_number() OVER (ORDER BY created_at, id) - 1) // 2048 AS _seq
FROM (SELECT {{columns}} FROM ({{rows}}))
WHERE id NOT IN (SELECT id FROM {{dataset}}) AND id NOT IN (SELECT id FROM tombstones WHERE dataset = {{dataset_name}})
ORDER BY created_at, id;
