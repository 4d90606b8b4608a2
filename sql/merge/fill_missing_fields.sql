-- Copies the fields that the tenant's staged rows never contain from the stored rows, and updates the hash.
UPDATE staged SET {{absent}}, _hash = hash({{values}})
FROM {{store}}.{{dataset}} AS kept
WHERE staged.id = kept.id AND staged.tenant_id = {{tenant}}::UUID AND raw IS NULL AND deleted_at IS NULL;
