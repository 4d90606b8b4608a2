-- The published costs by day, derived from the published calls. A cost of 0 or NULL is pending, not free.
SELECT (created_at AT TIME ZONE 'UTC')::DATE AS day, direction, provider, assistant_id, status,
       count(*) AS calls, sum(duration_seconds)::BIGINT AS seconds, sum(nullif(cost, 0))::DECIMAL(18, 4) AS cost,
       sum(stt_minutes) AS stt_minutes, sum(tts_characters)::BIGINT AS tts_characters,
       count(*) FILTER (coalesce(cost, 0) = 0) AS cost_pending
FROM {{calls}}
GROUP BY ALL
ORDER BY ALL
