-- Deletes the entries of replaced files that have been deleted.
DELETE FROM published_files WHERE replaced_at < $before;
