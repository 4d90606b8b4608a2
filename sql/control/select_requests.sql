-- Selects the newest requests, oldest first.
FROM (
    SELECT request_id, received_at, key_id, tenant_id, method, path, query, status, duration_ms, bytes, address, user_agent FROM requests
    WHERE received_at >= $since::TIMESTAMPTZ AND ($tenant::UUID IS NULL OR tenant_id = $tenant::UUID)
    ORDER BY received_at DESC, request_id LIMIT $limit
) ORDER BY received_at, request_id;
