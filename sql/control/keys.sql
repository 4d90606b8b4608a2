SELECT id, tenant_id, type, label, prefix, sha256, created_at, revoked_at FROM keys ORDER BY created_at, id;
