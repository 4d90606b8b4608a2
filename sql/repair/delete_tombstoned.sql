-- Deletes the rows that have a later tombstone.
DELETE FROM {{dataset}} AS stored USING tombstones
WHERE tombstones.dataset = {{dataset_name}} AND tombstones.id = stored.id AND tombstones._seq >= stored._seq;
