-- A file by its name, shown or replaced: the same content may have been both.
SELECT export, month, name, rows, bytes, sha256, min_created_at, max_created_at, as_of FROM published_files WHERE name = $name AND export = $export
ORDER BY replaced_at DESC NULLS FIRST LIMIT 1;
