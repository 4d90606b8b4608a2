-- How many rows of each outcome, whether those to insert lie far apart in time, and the months that rows are in now or, having moved, were in before.
SELECT count(*) FILTER (outcome = 'new'),
       count(*) FILTER (outcome IN ('changed', 'moved')),
       count(*) FILTER (outcome = 'moved'),
       count(*) FILTER (outcome IN ('unchanged', 'confirmed')),
       count(*) FILTER (outcome = 'superseded'),
       count(*) FILTER (outcome = 'confirmed'),
       coalesce(max(created_at) FILTER (outcome IN ('new', 'moved')) - min(created_at) FILTER (outcome IN ('new', 'moved')) > INTERVAL 90 DAY, false),
       array_to_string(list_distinct(list_concat(
           list(DISTINCT strftime(created_at::TIMESTAMP, '%Y-%m')) FILTER (outcome IN ('new', 'changed', 'moved')),
           list(DISTINCT strftime(stored_created_at::TIMESTAMP, '%Y-%m')) FILTER (outcome = 'moved'))), ',')
FROM delta;
