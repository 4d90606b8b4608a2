-- Selects whether the platform has any row of the tenant.
SELECT EXISTS (SELECT FROM {{customers}} WHERE user_id = $1) OR EXISTS (SELECT FROM {{whatsapp_configs}} WHERE user_id = $1)
    OR EXISTS (SELECT FROM {{api_keys}} WHERE user_id = $1) OR EXISTS (SELECT FROM {{call_logs}} WHERE user_id = $1)
