-- Counts the rows of a dataset by day (UTC), with the greatest number in the change feed. Times are compared without a time
-- zone, because that needs no calendar.
SELECT {{dataset_name}} AS dataset, make_timestamp(epoch_us(created_at))::DATE AS day, count(*) AS rows, max(_seq) AS seq
FROM {{dataset}}
WHERE {{where}}
GROUP BY ALL
