-- Messages as they came, typed; reason says why a row is refused.
CREATE OR REPLACE TEMP TABLE staged AS
WITH typed AS (
    SELECT line, raw, defect, tenant, loose,
           TRY_CAST(given(loose.id) AS UUID) AS id,
           loose.direction, loose.content, loose.message_type, loose.from_number, loose.to_number, loose.status,
           TRY_CAST(given(loose.is_from_bot) AS BOOLEAN) AS is_from_bot,
           moment(loose.delivered_at) AS delivered_at,
           moment(loose.read_at) AS read_at,
           moment(loose.created_at) AS created_at,
           TRY_CAST(given(loose.customer_id) AS UUID) AS customer_id,
           TRY_CAST(given(loose.assistant_id) AS UUID) AS assistant_id,
           loose.wa_message_id,
           moment(loose.updated_at) AS _source_at
    FROM (SELECT line, raw, defect, $tenant::UUID AS tenant, loose FROM loose)
)
SELECT coalesce(tenant, TRY_CAST(given(loose.user_id) AS UUID)) AS tenant_id, line,
       id, direction, content, message_type, from_number, to_number, status, is_from_bot, delivered_at, read_at,
       created_at, customer_id, assistant_id, wa_message_id, _source_at,
       hash(direction, content, message_type, from_number, to_number, status, is_from_bot, delivered_at, read_at,
            created_at, customer_id, assistant_id, wa_message_id) AS _hash,
       coalesce(defect, nullif(concat_ws('; ',
           missing('id', id, loose.id), refusal('id', loose.id, id, 'UUID'),
           refused_tenant(tenant, loose.user_id),
           missing('created_at', created_at, loose.created_at), refusal('created_at', loose.created_at, created_at, 'time'),
           refusal('delivered_at', loose.delivered_at, delivered_at, 'time'),
           refusal('read_at', loose.read_at, read_at, 'time'),
           refusal('updated_at', loose.updated_at, _source_at, 'time'),
           refusal('is_from_bot', loose.is_from_bot, is_from_bot, 'truth value'),
           refusal('customer_id', loose.customer_id, customer_id, 'UUID'),
           refusal('assistant_id', loose.assistant_id, assistant_id, 'UUID')), '')) AS reason,
       CASE WHEN reason IS NOT NULL THEN raw END AS raw
FROM typed;
