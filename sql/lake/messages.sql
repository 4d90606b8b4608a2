-- The published messages.
SELECT id::VARCHAR AS id, direction, content, message_type, from_number, to_number, customer_number, status, is_from_bot, delivered_at, read_at, created_at,
       customer_id::VARCHAR AS customer_id, assistant_id::VARCHAR AS assistant_id, wa_message_id
FROM {{rows}}
