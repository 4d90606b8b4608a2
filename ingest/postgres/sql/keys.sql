-- Selects the API keys with the digest instead of the key. If the time of a revocation is unknown, it is the current
-- time. An id that is not a UUID is replaced by a UUID that is derived from it.
SELECT CASE WHEN {{api_keys.id is uuid}} THEN id::text ELSE md5(id::text)::uuid::text END, user_id, coalesce(label, ''), coalesce(type, ''), left(key, 8),
       sha256(convert_to(key, getdatabaseencoding())), coalesce(created_at, now()),
       CASE WHEN is_revoked OR revoked_at IS NOT NULL THEN coalesce(revoked_at, now()) END
FROM {{api_keys}}
WHERE id IS NOT NULL AND {{api_keys.user_id is uuid}} AND key <> ''
ORDER BY user_id, created_at, id
