SELECT tenant_id::VARCHAR, restored_at, source, backup, backup_at FROM restores ORDER BY restored_at, tenant_id;
