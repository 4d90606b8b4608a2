-- The months (UTC) that a dataset has rows of, oldest first.
SELECT DISTINCT strftime(created_at AT TIME ZONE 'UTC', '%Y-%m') AS month FROM {{dataset}} ORDER BY month;
