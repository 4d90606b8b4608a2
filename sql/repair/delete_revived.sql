-- Deletes the tombstones of rows that are stored.
DELETE FROM tombstones WHERE dataset = {{dataset_name}} AND id IN (SELECT id FROM {{dataset}});
