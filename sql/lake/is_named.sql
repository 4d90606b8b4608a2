-- Reports whether a published file is current. There is no row if the manifest does not have it.
SELECT replaced_at IS NULL FROM published_files WHERE name = $name ORDER BY replaced_at DESC NULLS FIRST LIMIT 1;
