-- Adds the staged rows of some tenants that these tenants do not have yet, and that are old enough to have been another
-- tenant's. The relation own has the ids that the tenants have.
INSERT INTO moved
SELECT tenant_id, id FROM staged ANTI JOIN ({{own}}) AS own USING (tenant_id, id)
WHERE tenant_id IN ({{tenants}}) AND raw IS NULL AND deleted_at IS NULL AND created_at < {{before}}::TIMESTAMPTZ;
