-- Marks the current files of the given exports and months as replaced.
UPDATE published_files SET replaced_at = $at
FROM (SELECT unnest(from_json($files, '[{"export": "VARCHAR", "month": "VARCHAR"}]'), recursive := true)) AS written
WHERE published_files.export = written.export AND published_files.month = written.month AND replaced_at IS NULL;
