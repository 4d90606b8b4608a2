-- Reports whether a published file is current. The result is empty if the manifest does not have the file.
SELECT replaced_at IS NULL FROM published_files WHERE name = $name ORDER BY replaced_at DESC NULLS FIRST LIMIT 1;
