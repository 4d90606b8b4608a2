SELECT tenant_id::VARCHAR, restored_at, source, backup, backup_at, whole FROM restores ORDER BY restored_at, tenant_id;
