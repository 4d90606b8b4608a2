-- Selects the calls, ordered by tenant. With an index on user_id the rows arrive at once and each tenant is sorted
-- separately. Without it the server sorts the table first.
-- - transcript: transcript of the call, or its conversation_history if the transcript has no turn.
-- - summary: notes if the summary is missing or empty.
-- - cost: what the customer is charged. That is credits_charged of call_costs, each 0.01 USD; else the cost of the call;
--   else total_cost of call_costs. total_cost_usd is the cost of the platform's providers and not a charge.
-- - metadata: with the cost_breakdown of call_costs if the metadata have none.
-- - stt_minutes: from stt_seconds if the platform has no minutes, or 0.
-- call_costs may have several rows per call. In some deployments it refers to the call by text. It is read into one
-- hash table, because it may not have an index.
SELECT user_id, id, call_sid, direction, status, from_number, to_number, phone_number, duration, duration_seconds,
       CASE WHEN charged <> 0 THEN charged WHEN coalesce(cost, 0) = 0 THEN coalesce(nullif(total, 0), cost) ELSE cost END AS cost,
       coalesce(nullif(summary::text, ''), notes::text, summary::text) AS summary,
       coalesce({{transcript_turns}}, {{history_turns}}, to_json(transcript)) AS transcript,
       recording_url, provider, started_at, ended_at, created_at, updated_at, assistant_id,
       CASE WHEN costs.call IS NOT NULL AND breakdown <> '{}' AND (metadata IS NULL OR jsonb_typeof({{jsonb_metadata}}) = 'object')
                 AND coalesce({{jsonb_metadata}} -> 'cost_breakdown', 'null') = 'null'
            THEN to_json(coalesce({{jsonb_metadata}}, '{}') || jsonb_build_object('cost_breakdown', breakdown))
            ELSE to_json(metadata) END AS metadata,
       coalesce(nullif(stt_minutes::float8, 0), stt_seconds::float8 / 60, stt_minutes::float8) AS stt_minutes, tts_characters
FROM (SELECT * FROM {{call_logs}} WHERE $1::timestamptz IS NULL OR created_at >= $1 OR updated_at >= $1 ORDER BY user_id, created_at, id) AS calls
LEFT JOIN (
    SELECT call, sum(charged) AS charged, sum(total) AS total,
           jsonb_strip_nulls(jsonb_build_object('stt', sum(stt), 'llm', sum(llm), 'tts', sum(tts), 'infra', sum(infra), 'telephony', sum(telephony))) AS breakdown
    FROM (SELECT lower(coalesce(call_log_id::text, call_id::text)) AS call, credits_charged * 0.01 AS charged, total_cost AS total,
                 coalesce(stt_cost, stt_cost_usd) AS stt, coalesce(llm_cost, llm_cost_usd) AS llm, coalesce(tts_cost, tts_cost_usd) AS tts,
                 coalesce(infra_cost, infra_cost_usd, livekit_cost, livekit_cost_usd) AS infra, coalesce(telephony_cost, telephony_cost_usd) AS telephony
          FROM {{call_costs}}) AS costs
    WHERE $1::timestamptz IS NULL OR call IN (SELECT lower(id::text) FROM {{call_logs}} WHERE created_at >= $1 OR updated_at >= $1)
    GROUP BY call
) AS costs ON costs.call = lower(calls.id::text)
