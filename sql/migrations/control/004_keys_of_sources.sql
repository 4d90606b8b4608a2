-- Where a key was taken over from; NULL: it was made here.
ALTER TABLE keys ADD COLUMN source VARCHAR;
