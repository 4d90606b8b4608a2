UPDATE keys SET label = $label, expires_at = $expires_at::TIMESTAMPTZ, rate_limit = nullif($rate_limit, ''),
                origins = from_json($origins, '["VARCHAR"]'),
                query_rows = nullif($query_rows, 0), query_bytes = nullif($query_bytes, 0), query_time_ms = nullif($query_time_ms, 0),
                allow_erase = $allow_erase
WHERE id = $id::UUID;
