-- Selects the current files of months that are published by day, and the format of each.
SELECT export, month, day, rows, source_seq, format FROM published_files
WHERE replaced_at IS NULL AND day <> '' AND export IN ('calls', 'messages') ORDER BY export, month, day;
