-- Deletes everything of a tenant.
DELETE FROM keys WHERE tenant_id = {{tenant}}::UUID;
DELETE FROM requests WHERE tenant_id = {{tenant}}::UUID;
DELETE FROM tenants WHERE id = {{tenant}}::UUID;
