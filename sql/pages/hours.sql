-- Counts the filtered rows per hour since 1970-01-01T00:00Z, to compute the total and the position of each page.
SELECT epoch_us(created_at) // 3600000000 AS hour, count(*) FROM {{dataset}} WHERE {{where}} GROUP BY hour ORDER BY hour DESC;
