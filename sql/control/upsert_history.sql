-- Registers the tenant, if it is not, and sets the history of its store.
INSERT INTO tenants (id, created_at, history) VALUES ($id::UUID, now(), $history::UUID)
    ON CONFLICT (id) DO UPDATE SET history = excluded.history;
