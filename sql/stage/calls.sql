-- Calls as they came, typed; reason says why a row is refused. Source of the rules: the API contract's "rows as they arrive".
CREATE OR REPLACE TEMP TABLE staged AS
WITH typed AS (
    SELECT line, raw, defect, tenant, loose,
           TRY_CAST(given(loose.id) AS UUID) AS id,
           loose.call_sid, loose.direction, loose.status, loose.from_number, loose.to_number, loose.phone_number,
           digits(coalesce(given(loose.phone_number),
                           CASE loose.direction WHEN 'inbound' THEN loose.from_number WHEN 'outbound' THEN loose.to_number END)) AS customer_number,
           loose.duration,
           TRY_CAST(given(loose.duration_seconds) AS INTEGER) AS duration_seconds,
           TRY_CAST(given(loose.cost) AS DECIMAL(10, 4)) AS cost,
           loose.summary, loose.transcript, loose.recording_url, loose.provider,
           moment(loose.started_at) AS started_at,
           moment(loose.ended_at) AS ended_at,
           moment(loose.created_at) AS created_at,
           TRY_CAST(given(loose.assistant_id) AS UUID) AS assistant_id,
           loose.metadata,
           TRY_CAST(given(loose.stt_minutes) AS DOUBLE) AS stt_minutes,
           TRY_CAST(given(loose.tts_characters) AS BIGINT) AS tts_characters,
           moment(loose.updated_at) AS _source_at
    FROM (SELECT line, raw, defect, $tenant::UUID AS tenant, loose FROM loose)
)
SELECT coalesce(tenant, TRY_CAST(given(loose.user_id) AS UUID)) AS tenant_id, line,
       id, call_sid, direction, status, from_number, to_number, phone_number, customer_number, duration, duration_seconds,
       cost, summary, transcript, recording_url, provider, started_at, ended_at, created_at, assistant_id, metadata,
       stt_minutes, tts_characters, _source_at,
       hash(call_sid, direction, status, from_number, to_number, phone_number, duration, duration_seconds,
            cost, summary, transcript, recording_url, provider, started_at, ended_at, created_at, assistant_id, metadata,
            stt_minutes, tts_characters) AS _hash,
       coalesce(defect, nullif(concat_ws('; ',
           missing('id', id, loose.id), refusal('id', loose.id, id, 'UUID'),
           refused_tenant(tenant, loose.user_id),
           missing('created_at', created_at, loose.created_at), refusal('created_at', loose.created_at, created_at, 'time'),
           refusal('started_at', loose.started_at, started_at, 'time'),
           refusal('ended_at', loose.ended_at, ended_at, 'time'),
           refusal('updated_at', loose.updated_at, _source_at, 'time'),
           refusal('duration_seconds', loose.duration_seconds, duration_seconds, 'whole number'),
           refusal('cost', loose.cost, cost, 'decimal(10,4)'),
           refusal('assistant_id', loose.assistant_id, assistant_id, 'UUID'),
           refusal('stt_minutes', loose.stt_minutes, CASE WHEN isfinite(stt_minutes) THEN stt_minutes END, 'number'),
           refusal('tts_characters', loose.tts_characters, tts_characters, 'whole number')), '')) AS reason,
       CASE WHEN reason IS NOT NULL THEN raw END AS raw
FROM typed;
