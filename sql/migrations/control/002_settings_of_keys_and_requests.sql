-- What a key was given beyond its type.
ALTER TABLE keys ADD COLUMN expires_at TIMESTAMPTZ;     -- NULL: never
ALTER TABLE keys ADD COLUMN last_used_at TIMESTAMPTZ;   -- NULL: not yet
ALTER TABLE keys ADD COLUMN rate_limit VARCHAR;         -- rules of its own, as 600/1m,50/5s; NULL: the server's
ALTER TABLE keys ADD COLUMN origins VARCHAR[];          -- web origins whose pages may use the key

-- The requests that were answered lately. Never a key, never a secret.
CREATE TABLE requests (
    request_id  VARCHAR NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    key_id      UUID,                   -- NULL: it came without a good key
    tenant_id   UUID,
    method      VARCHAR NOT NULL,
    path        VARCHAR NOT NULL,
    query       VARCHAR NOT NULL,
    status      SMALLINT NOT NULL,
    duration_ms DOUBLE NOT NULL,
    bytes       BIGINT NOT NULL,        -- of the answer's body, as sent
    address     VARCHAR NOT NULL,       -- of the client
    user_agent  VARCHAR NOT NULL
);
