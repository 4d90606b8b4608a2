-- Sets the parts of a key that its source determines.
UPDATE keys SET tenant_id = $tenant::UUID, type = $type, source = $source, revoked_at = $revoked_at::TIMESTAMPTZ, revocation_inferred = $inferred
WHERE id = $id::UUID;
