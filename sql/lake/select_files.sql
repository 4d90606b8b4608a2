-- Selects the current published files.
SELECT export, month, day, name, rows, bytes, sha256, min_created_at, max_created_at, as_of, source_seq FROM published_files WHERE replaced_at IS NULL ORDER BY export, month, day;
