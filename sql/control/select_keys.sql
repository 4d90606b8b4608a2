SELECT id, tenant_id, type, label, prefix, sha256, created_at, revoked_at, expires_at, last_used_at, coalesce(rate_limit, ''),
       coalesce(to_json(origins)::VARCHAR, '[]'), coalesce(source, ''), coalesce(query_rows, 0), coalesce(query_bytes, 0), coalesce(query_time_ms, 0), coalesce(revocation_inferred, false), coalesce(allow_erase, false)
FROM keys ORDER BY created_at, id;
