-- Selects the current published files.
SELECT export, month, name, rows, bytes, sha256, min_created_at, max_created_at, as_of FROM published_files WHERE replaced_at IS NULL ORDER BY export, month;
