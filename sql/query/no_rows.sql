-- Replaces the rows of an export that has no files.
SELECT {{columns}} WHERE false
