CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL);

-- The SHA-256 of each script that was applied, in hexadecimal digits. Earlier versions recorded none.
CREATE TABLE IF NOT EXISTS schema_scripts (version INTEGER NOT NULL, sha256 VARCHAR NOT NULL);
