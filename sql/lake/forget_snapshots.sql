-- Makes the current files those of one new publication, so that no earlier snapshot of a table can be derived.
UPDATE published_files SET published_at = $at WHERE replaced_at IS NULL;
