-- What the lake does not show yet is noted in the clock's row: {"calls/2026-04": 7} says that commit 7 was the last to touch that month's calls
-- ("customers/" is a dataset of one file). Rows of a table of its own took over a megabyte of memory for each tenant from the first that was
-- added to the next checkpoint.
ALTER TABLE clock ADD COLUMN unpublished JSON;
UPDATE clock SET unpublished = coalesce((SELECT json_group_object(dataset || '/' || month, seq) FROM (SELECT dataset, month, max(seq) AS seq FROM unpublished GROUP BY ALL)), '{}');
DROP TABLE unpublished;
