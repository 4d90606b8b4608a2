-- How many rows of the filter each day (UTC, counted from 1970-01-01) has: the total, and where each page lies.
SELECT epoch_us(created_at) // 86400000000 AS day, count(*) FROM {{dataset}} WHERE {{where}} GROUP BY day ORDER BY day DESC;
