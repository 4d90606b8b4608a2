-- Selects whether the platform has any row of the tenant.
SELECT EXISTS (SELECT FROM {{customers}} WHERE user_id = $1::uuid{{customers.user_id type}})
    OR EXISTS (SELECT FROM {{whatsapp_configs}} WHERE user_id = $1::uuid{{whatsapp_configs.user_id type}})
    OR EXISTS (SELECT FROM {{api_keys}} WHERE user_id = $1::uuid{{api_keys.user_id type}})
    OR EXISTS (SELECT FROM {{call_logs}} WHERE user_id = $1::uuid{{call_logs.user_id type}})
