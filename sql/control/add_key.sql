INSERT INTO keys VALUES ($id::UUID, $tenant::UUID, $type, $label, $prefix, $sha256, $created_at::TIMESTAMPTZ, NULL);
