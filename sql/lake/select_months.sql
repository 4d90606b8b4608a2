-- Selects the months (UTC) of a dataset's rows, oldest first.
SELECT DISTINCT strftime(created_at AT TIME ZONE 'UTC', '%Y-%m') AS month FROM {{dataset}} ORDER BY month;
