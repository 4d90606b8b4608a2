-- Deletes the rows of a partition.
DELETE FROM {{dataset}} WHERE {{where}};
