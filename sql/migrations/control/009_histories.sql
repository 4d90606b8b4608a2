-- The history of each tenant's store. NULL: the tenant has no store, or an earlier version wrote it.
ALTER TABLE tenants ADD COLUMN history UUID;
