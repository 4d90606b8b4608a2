-- Inserts a record of erased identities, given as JSON.
INSERT INTO memory.main.erased
SELECT record.tenant_id, record.salt, unnest(record.hashes), record.until
FROM (SELECT from_json($record::VARCHAR, '{"tenant_id": "UUID", "salt": "VARCHAR", "hashes": ["UUID"], "until": "TIMESTAMPTZ"}') AS record);
