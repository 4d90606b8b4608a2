SELECT id, created_at, coalesce(keep, 'none') FROM tenants ORDER BY created_at, id;
