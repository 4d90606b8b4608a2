UPDATE keys SET revoked_at = $at::TIMESTAMPTZ WHERE id = $id::UUID AND revoked_at IS NULL;
