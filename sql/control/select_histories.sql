SELECT id, history FROM tenants WHERE history IS NOT NULL;
