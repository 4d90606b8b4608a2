-- Selects the API keys with the digest instead of the key. If the time of a revocation is unknown, it is the current
-- time.
SELECT id, user_id, coalesce(label, ''), coalesce(type, ''), left(key, 8), sha256(convert_to(key, 'UTF8')), coalesce(created_at, now()),
       CASE WHEN is_revoked OR revoked_at IS NOT NULL THEN coalesce(revoked_at, now()) END
FROM {{api_keys}}
WHERE id IS NOT NULL AND user_id IS NOT NULL AND key <> ''
ORDER BY user_id, created_at, id
