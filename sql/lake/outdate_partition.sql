-- Makes a partition stale, although no commit has changed it: the format 0 is older than any. Exports that are derived from
-- the dataset are written together with it.
UPDATE published_files SET format = 0 WHERE export = $dataset AND month = $month AND replaced_at IS NULL AND format <> 0;
