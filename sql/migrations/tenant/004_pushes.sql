-- Pushes of rows that the client gave a key to, so that the same push again is answered as it was.
CREATE TABLE pushes (
    key      VARCHAR NOT NULL,
    digest   BLOB NOT NULL,
    outcome  JSON NOT NULL,
    noted_at TIMESTAMPTZ NOT NULL
);
