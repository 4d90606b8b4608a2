-- Makes the files of a month or of a day stale although no commit has changed them: format 0 is older than every
-- format. Exports that are derived from the dataset are written together with it.
UPDATE published_files SET format = 0
WHERE export = $dataset AND month = $month AND ($day = '' OR day = $day) AND replaced_at IS NULL AND format <> 0;
