-- Selects a file by its name. If the same content was published several times, the current file comes first.
SELECT export, month, day, name, rows, bytes, sha256, min_created_at, max_created_at, as_of, source_seq FROM published_files WHERE name = $name AND export = $export
ORDER BY replaced_at DESC NULLS FIRST LIMIT 1;
