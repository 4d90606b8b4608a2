-- Reports whether a published file is current.
SELECT count(*) > 0 FROM published_files WHERE name = $name AND replaced_at IS NULL;
