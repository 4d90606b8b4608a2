-- Sets the time of the last use of keys. $used is a JSON list of {"id", "used_at"}.
UPDATE keys SET last_used_at = used_at
FROM (SELECT unnest(from_json($used::VARCHAR, '[{"id":"UUID","used_at":"TIMESTAMPTZ"}]'), max_depth := 2)) AS used
WHERE keys.id = used.id;
