-- Inserts the tombstones of the rows that are erased. Readers of the change feed get the id and the time of the erasure.
INSERT INTO {{store}}.tombstones BY NAME
SELECT {{dataset_name}} AS dataset, id, now() AS deleted_at, {{seq}} AS _seq, false AS inferred FROM leaving;
