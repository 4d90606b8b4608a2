INSERT INTO tenants (id, created_at) VALUES ($id::UUID, now()) ON CONFLICT DO NOTHING;
