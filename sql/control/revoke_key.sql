UPDATE keys SET revoked_at = $at::TIMESTAMPTZ, revocation_inferred = false WHERE id = $id::UUID AND (revoked_at IS NULL OR revocation_inferred);
