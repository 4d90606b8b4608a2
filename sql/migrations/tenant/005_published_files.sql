-- The published files: those that the lake shows now, and those that were replaced a while ago.
CREATE TABLE published_files (
    export         VARCHAR NOT NULL,
    month          VARCHAR NOT NULL,     -- '' for an export of one file
    name           VARCHAR NOT NULL,     -- holds the beginning of sha256: never two contents under one name
    rows           BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    sha256         VARCHAR NOT NULL,     -- 64 hexadecimal digits
    min_created_at TIMESTAMPTZ NOT NULL,
    max_created_at TIMESTAMPTZ NOT NULL,
    as_of          TIMESTAMPTZ NOT NULL, -- every commit before is in the file
    replaced_at    TIMESTAMPTZ           -- NULL: the lake shows it
);

-- What was published before this table was there, is published anew with what is made of it.
INSERT INTO unpublished
    SELECT DISTINCT 'calls', strftime(created_at AT TIME ZONE 'UTC', '%Y-%m'), seq FROM calls, clock
    UNION ALL SELECT DISTINCT 'messages', strftime(created_at AT TIME ZONE 'UTC', '%Y-%m'), seq FROM messages, clock
    UNION ALL SELECT 'customers', '', seq FROM clock WHERE EXISTS (FROM customers);
