-- Selects a file by its name. If the same content was published several times, the current file comes first.
SELECT export, month, name, rows, bytes, sha256, min_created_at, max_created_at, as_of FROM published_files WHERE name = $name AND export = $export
ORDER BY replaced_at DESC NULLS FIRST LIMIT 1;
