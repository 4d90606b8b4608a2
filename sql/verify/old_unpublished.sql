-- Selects the stale partitions of a store with an earlier schema version.
SELECT split_part(key, '/', 1), split_part(key, '/', 2) FROM clock, json_each(unpublished);
