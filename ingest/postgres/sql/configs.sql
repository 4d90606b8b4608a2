-- Selects the tenant of each WhatsApp number.
SELECT config_id, user_id FROM (SELECT id::text AS config_id, user_id::text FROM {{whatsapp_configs}}) AS configs
WHERE config_id IS NOT NULL AND user_id IS NOT NULL
