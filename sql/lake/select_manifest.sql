-- Selects the files of all exports with the publications that added and replaced them, oldest first.
SELECT export, month, day, name, rows, bytes, sha256, min_created_at, max_created_at, as_of, source_seq, published_at, replaced_at
FROM published_files ORDER BY published_at, month, name;
