-- The identity of the store, {"tenant":…,"history":…}: it is written once. The history is random. NULL: the store has none yet,
-- because it is new or an earlier version wrote it.
ALTER TABLE clock ADD COLUMN identity JSON;

-- The last write transaction of the store, {"tenant":…,"history":…,"number":…}: each one replaces it. It differs from identity
-- after the replay of a WAL of another store.
ALTER TABLE clock ADD COLUMN last_commit JSON;
