-- Marks the current files of the given exports, months and days as replaced. If a month goes from one file to files by day, or
-- back, all of its files are replaced.
UPDATE published_files SET replaced_at = $at
FROM (SELECT unnest(from_json($files, '[{"export": "VARCHAR", "month": "VARCHAR", "day": "VARCHAR"}]'), recursive := true)) AS written
WHERE published_files.export = written.export AND published_files.month = written.month
  AND (published_files.day = written.day OR (published_files.day = '') <> (written.day = '')) AND replaced_at IS NULL;
