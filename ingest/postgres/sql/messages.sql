-- Selects the messages since $1, and all messages of the numbers $2, ordered by phone number. Each number belongs to one
-- tenant, so a tenant's messages are adjacent. The user_id is NULL if the number has no configuration.
SELECT configs.user_id, id, direction, content, message_type, from_number, to_number, status, is_from_bot, delivered_at, read_at,
       coalesce(created_at, message_timestamp) AS created_at, updated_at, customer_id, assistant_id, wa_message_id
FROM {{whatsapp_messages}} LEFT JOIN (SELECT id AS config, user_id FROM {{whatsapp_configs}}) AS configs ON config{{config_type}} = config_id{{config_type}}
WHERE $1::timestamptz IS NULL OR created_at >= $1 OR updated_at >= $1 OR created_at IS NULL AND message_timestamp >= $1 OR config_id::text = ANY($2::text[])
ORDER BY config_id, coalesce(created_at, message_timestamp), id
