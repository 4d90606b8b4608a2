INSERT INTO unpublished
SELECT DISTINCT $dataset, strftime(moment::TIMESTAMP, '%Y-%m'), (SELECT seq FROM clock)
FROM (SELECT unnest([created_at, stored_created_at]) AS moment FROM delta WHERE outcome IN ('new', 'changed', 'moved'))
WHERE moment IS NOT NULL;
