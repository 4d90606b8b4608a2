INSERT INTO keys BY NAME
SELECT $id::UUID AS id, $tenant::UUID AS tenant_id, $type AS type, $label AS label, $prefix AS prefix, $sha256 AS sha256,
       $created_at::TIMESTAMPTZ AS created_at, $expires_at::TIMESTAMPTZ AS expires_at, nullif($rate_limit, '') AS rate_limit, nullif($source, '') AS source,
       from_json($origins, '["VARCHAR"]') AS origins,
       nullif($query_rows, 0) AS query_rows, nullif($query_bytes, 0) AS query_bytes, nullif($query_time_ms, 0) AS query_time_ms,
       $allow_erase AS allow_erase;
