-- Inserts $requests, a JSON list of objects with the columns' names.
INSERT INTO requests BY NAME
SELECT unnest(from_json($requests::VARCHAR, '[{"request_id":"VARCHAR","received_at":"TIMESTAMPTZ","key_id":"UUID","tenant_id":"UUID",
    "method":"VARCHAR","path":"VARCHAR","query":"VARCHAR","status":"SMALLINT","duration_ms":"DOUBLE","bytes":"BIGINT",
    "address":"VARCHAR","user_agent":"VARCHAR"}]'), max_depth := 2);
