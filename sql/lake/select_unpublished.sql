-- Selects the stale partitions and the current time. Every commit before that time is visible to later readers.
SELECT split_part(key, '/', 1) AS dataset, split_part(key, '/', 2) AS month, value::BIGINT AS seq, now() FROM clock, json_each(unpublished) ORDER BY dataset, month;
