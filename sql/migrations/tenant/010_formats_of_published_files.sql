-- The format of the columns of each published file: 1 has ids as UUIDs, and no numbers of fields. A file of an older format
-- than the program's is written again.
ALTER TABLE published_files ADD COLUMN format INTEGER DEFAULT 1;
