-- How many rows of the filter each hour (counted from 1970-01-01T00:00Z) has: the total, and where each page lies.
SELECT epoch_us(created_at) // 3600000000 AS hour, count(*) FROM {{dataset}} WHERE {{where}} GROUP BY hour ORDER BY hour DESC;
