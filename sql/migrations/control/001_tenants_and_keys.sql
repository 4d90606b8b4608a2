-- Who there is, and who may ask. Nothing here can be turned back into a key.
CREATE TABLE tenants (
    id         UUID PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE keys (
    id         UUID PRIMARY KEY,
    tenant_id  UUID NOT NULL,
    type       VARCHAR NOT NULL CHECK (type IN ('public', 'secret')),
    label      VARCHAR NOT NULL,
    prefix     VARCHAR NOT NULL,        -- the first characters of the key, to recognise it by
    sha256     BLOB NOT NULL,           -- of the whole key; the key itself is never stored
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);
