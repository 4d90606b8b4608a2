-- Selects the calls, ordered by tenant. With an index on user_id the rows arrive at once and each tenant is sorted
-- separately. Without it the server sorts the table first.
-- - transcript: transcript of the call, or its conversation_history if the transcript has no turn.
-- - cost: total of call_costs if the call has no cost yet.
-- - metadata: with the cost_breakdown of call_costs if the metadata have none.
-- - stt_minutes: from stt_seconds if the platform has no minutes.
-- call_costs may have several rows per call. In some deployments it refers to the call by text. It is read into one
-- hash table, because it may not have an index.
SELECT user_id, id, call_sid, direction, status, from_number, to_number, phone_number, duration, duration_seconds,
       CASE WHEN coalesce(cost, 0) = 0 THEN coalesce(nullif(total, 0), cost) ELSE cost END AS cost, summary,
       coalesce({{transcript_turns}}, {{history_turns}}, to_json(transcript)) AS transcript,
       recording_url, provider, started_at, ended_at, created_at, updated_at, assistant_id,
       CASE WHEN costs.call IS NOT NULL AND breakdown <> '{}' AND (metadata IS NULL OR jsonb_typeof({{jsonb_metadata}}) = 'object')
                 AND coalesce({{jsonb_metadata}} -> 'cost_breakdown', 'null') = 'null'
            THEN to_json(coalesce({{jsonb_metadata}}, '{}') || jsonb_build_object('cost_breakdown', breakdown))
            ELSE to_json(metadata) END AS metadata,
       coalesce(stt_minutes::float8, stt_seconds::float8 / 60) AS stt_minutes, tts_characters
FROM (SELECT * FROM {{call_logs}} WHERE $1::timestamptz IS NULL OR created_at >= $1 OR updated_at >= $1 ORDER BY user_id, created_at, id) AS calls
LEFT JOIN (
    SELECT call, sum(total) AS total, jsonb_strip_nulls(jsonb_build_object('stt', sum(stt), 'llm', sum(llm), 'tts', sum(tts), 'infra', sum(infra))) AS breakdown
    FROM (SELECT coalesce(call_log_id::text, call_id::text) AS call, coalesce(total_cost, total_cost_usd) AS total, coalesce(stt_cost, stt_cost_usd) AS stt,
                 coalesce(llm_cost, llm_cost_usd) AS llm, coalesce(tts_cost, tts_cost_usd) AS tts,
                 coalesce(infra_cost, infra_cost_usd, livekit_cost, livekit_cost_usd, telephony_cost, telephony_cost_usd) AS infra
          FROM {{call_costs}}) AS costs
    WHERE $1::timestamptz IS NULL OR call IN (SELECT id::text FROM {{call_logs}} WHERE created_at >= $1 OR updated_at >= $1)
    GROUP BY call
) AS costs ON costs.call = calls.id::text
