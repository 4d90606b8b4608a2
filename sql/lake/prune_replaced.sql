-- Files that were replaced so long ago that they are gone.
DELETE FROM published_files WHERE replaced_at < $before;
