-- The files that sources of many tenants have read, each as a hash that the source computes. A file is inserted after
-- its last rows are merged.
CREATE TABLE source_files (
    source VARCHAR NOT NULL,
    file   UBIGINT NOT NULL
);
