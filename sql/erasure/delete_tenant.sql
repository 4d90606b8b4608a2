DELETE FROM staged WHERE tenant_id IN ({{tenants}});
