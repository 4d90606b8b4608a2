-- Deletes the tombstones of rows of published files.
DELETE FROM tombstones WHERE dataset = {{dataset_name}} AND id::VARCHAR IN (SELECT id FROM ({{rows}}));
