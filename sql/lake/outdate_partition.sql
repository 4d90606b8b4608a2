-- Makes the files of a month stale, or that of a day, although no commit has changed them: the format 0 is older than any.
-- Exports that are derived from the dataset are written together with it.
UPDATE published_files SET format = 0
WHERE export = $dataset AND month = $month AND ($day = '' OR day = $day) AND replaced_at IS NULL AND format <> 0;
