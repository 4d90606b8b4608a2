-- The last restore of each tenant from a backup. seq is the last commit of the restored store.
CREATE TABLE restores (
    tenant_id   UUID NOT NULL,
    restored_at TIMESTAMPTZ NOT NULL,
    source      VARCHAR NOT NULL,       -- path of the backups
    backup      VARCHAR NOT NULL,       -- name of the backup
    backup_at   TIMESTAMPTZ NOT NULL,   -- its start
    seq         BIGINT NOT NULL
);

-- Tenants that a restore has put behind the state of a source of many tenants: what the source had read at the time of the
-- backup. Its next run reads for these tenants what has come since. state: NULL if the source had none.
CREATE TABLE source_lags (
    tenant_id UUID NOT NULL,
    source    VARCHAR NOT NULL,
    state     JSON,
    files     UBIGINT[] NOT NULL
);
