-- Customers as they came, typed; reason says why a row is refused.
CREATE OR REPLACE TEMP TABLE staged AS
WITH typed AS (
    SELECT line, raw, defect, tenant, loose,
           TRY_CAST(given(loose.id) AS UUID) AS id,
           loose.name, loose.email, loose.phone_number,
           digits(loose.phone_number) AS customer_number,
           loose.source,
           TRY_CAST(given(loose.interaction_count) AS BIGINT) AS interaction_count,
           moment(loose.last_interaction) AS last_interaction,
           loose.variables,
           moment(loose.created_at) AS created_at,
           moment(loose.updated_at) AS updated_at
    FROM (SELECT line, raw, defect, $tenant::UUID AS tenant, loose FROM loose)
)
SELECT coalesce(tenant, TRY_CAST(given(loose.user_id) AS UUID)) AS tenant_id, line,
       id, name, email, phone_number, customer_number, source, interaction_count, last_interaction, variables,
       created_at, updated_at, updated_at AS _source_at,
       hash(name, email, phone_number, source, interaction_count, last_interaction, variables, created_at, updated_at) AS _hash,
       coalesce(defect, nullif(concat_ws('; ',
           missing('id', id, loose.id), refusal('id', loose.id, id, 'UUID'),
           refused_tenant(tenant, loose.user_id),
           missing('created_at', created_at, loose.created_at), refusal('created_at', loose.created_at, created_at, 'time'),
           refusal('updated_at', loose.updated_at, updated_at, 'time'),
           refusal('last_interaction', loose.last_interaction, last_interaction, 'time'),
           refusal('interaction_count', loose.interaction_count, interaction_count, 'whole number')), '')) AS reason,
       CASE WHEN reason IS NOT NULL THEN raw END AS raw
FROM typed;
