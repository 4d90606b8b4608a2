-- What is to be published, and a time before which every commit is seen by whoever reads from now on.
SELECT split_part(key, '/', 1) AS dataset, split_part(key, '/', 2) AS month, value::BIGINT AS seq, now() FROM clock, json_each(unpublished) ORDER BY dataset, month;
