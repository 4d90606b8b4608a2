-- Updates the newest rows of each tenant and table. $1 is the new text, $2 the number of rows.
WITH messages AS (
    UPDATE whatsapp_messages SET content = jsonb_build_object('body', $1::text)
    WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY config_id ORDER BY created_at DESC) AS n FROM whatsapp_messages) AS newest WHERE n <= $2)
), people AS (
    UPDATE customers SET name = $1, updated_at = now()
    WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY created_at DESC) AS n FROM customers) AS newest WHERE n <= $2)
)
UPDATE call_logs SET summary = $1, updated_at = now()
WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY created_at DESC) AS n FROM call_logs) AS newest WHERE n <= $2)
