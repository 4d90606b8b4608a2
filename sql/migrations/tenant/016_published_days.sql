-- The day (YYYY-MM-DD) of a published file of a month that is published by day; '' for another file. source_seq is the greatest
-- number in the change feed of the rows of a dataset's file; 0 if it is unknown.
ALTER TABLE published_files ADD COLUMN day VARCHAR DEFAULT '';
ALTER TABLE published_files ADD COLUMN source_seq BIGINT DEFAULT 0;
