UPDATE keys SET label = $label, expires_at = $expires_at::TIMESTAMPTZ, rate_limit = nullif($rate_limit, ''),
                origins = from_json($origins, '["VARCHAR"]')
WHERE id = $id::UUID;
