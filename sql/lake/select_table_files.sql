-- Selects the files of an export with the publications that added and replaced them, oldest first.
SELECT export, month, name, rows, bytes, sha256, min_created_at, max_created_at, as_of, published_at, replaced_at
FROM published_files WHERE export = $export ORDER BY published_at, month, name;
