-- Selects the customers since $1, and those with the ids $2, ordered by tenant.
SELECT user_id, id, name, email, phone_number, source, interaction_count, last_interaction, variables, created_at, updated_at
FROM {{customers}}
WHERE $1::timestamptz IS NULL OR created_at >= $1 OR updated_at >= $1 OR id::text = ANY($2::text[])
ORDER BY user_id, created_at, id
