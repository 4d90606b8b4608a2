-- The files that sources with this tenant's rows have read, each as a hash that the source computes. A file is inserted
-- in the transaction of its last rows.
CREATE TABLE source_files (
    source VARCHAR NOT NULL,
    file   UBIGINT NOT NULL
);
