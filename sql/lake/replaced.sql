-- The file of an export and month that the lake shows no more.
UPDATE published_files SET replaced_at = now() WHERE export = $export AND month = $month AND replaced_at IS NULL;
