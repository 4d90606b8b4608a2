-- Selects the stale partitions, each with the last commit that changed it, and the current time. Every commit before that
-- time is visible to later readers. Partitions with files of an older format than $format are stale, too; commit 0 stands
-- for no commit.
SELECT dataset, month, max(seq) AS seq, now()
FROM (SELECT split_part(key, '/', 1) AS dataset, split_part(key, '/', 2) AS month, value::BIGINT AS seq FROM clock, json_each(unpublished)
      UNION ALL
      SELECT export, month, 0 FROM published_files WHERE replaced_at IS NULL AND format < $format AND export IN ('calls', 'customers', 'messages'))
GROUP BY ALL
ORDER BY dataset, month;
