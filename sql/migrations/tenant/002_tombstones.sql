-- What the source has deleted: a row is in its dataset's table or here, never in both. The older row may still arrive, and
-- who follows the changes must hear of the deletion, so a tombstone stays. There is no index, as for the rows.
CREATE TABLE tombstones (
    dataset    VARCHAR NOT NULL,
    id         UUID NOT NULL,
    deleted_at TIMESTAMPTZ NOT NULL,     -- the source's own time of the deletion
    _seq       BIGINT NOT NULL           -- number of the commit that brought it
);
