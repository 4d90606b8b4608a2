-- Selects the highest number in the change feed.
SELECT coalesce(max(_seq), 0) FROM (
    SELECT max(_seq) AS _seq FROM calls UNION ALL SELECT max(_seq) FROM customers UNION ALL SELECT max(_seq) FROM messages
    UNION ALL SELECT max(_seq) FROM tombstones);
