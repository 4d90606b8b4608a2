-- The staged rows of the tenant never have some fields: they take over what is kept of them, and their hash with it.
UPDATE staged SET {{absent}}, _hash = hash({{values}})
FROM {{store}}.{{dataset}} AS kept
WHERE staged.id = kept.id AND staged.tenant_id = {{tenant}}::UUID AND raw IS NULL AND deleted_at IS NULL;
