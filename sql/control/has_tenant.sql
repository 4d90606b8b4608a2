-- Reports whether there is anything of a tenant.
SELECT EXISTS (FROM tenants WHERE id = {{tenant}}::UUID) OR EXISTS (FROM keys WHERE tenant_id = {{tenant}}::UUID) OR EXISTS (FROM requests WHERE tenant_id = {{tenant}}::UUID);
