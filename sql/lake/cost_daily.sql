-- The published costs by day, derived from the published calls. A cost of 0 or NULL is pending if the call is in progress,
-- or completed and has a length: the platform bills no others.
-- Each sum has a type that no values of its column can exceed. An INTEGER or DECIMAL(10,4) would take 100 million rows
-- of the largest value to do so; a BIGINT takes two, and so is summed as DECIMAL(38,0). A sum of DOUBLEs that is not
-- finite is NULL.
SELECT (created_at AT TIME ZONE 'UTC')::DATE AS day, direction, provider, assistant_id, status,
       count(*) AS calls, sum(duration_seconds)::BIGINT AS seconds, sum(nullif(cost, 0))::DECIMAL(18, 4) AS cost,
       CASE WHEN isfinite(sum(stt_minutes)) THEN sum(stt_minutes) END AS stt_minutes, sum(tts_characters)::DECIMAL(38, 0) AS tts_characters,
       count(*) FILTER (coalesce(cost, 0) = 0 AND CASE replace(status, '_', '-') WHEN 'completed' THEN coalesce(duration_seconds, 0) > 0
           ELSE coalesce(replace(status, '_', '-'), '') NOT IN ('busy', 'failed', 'no-answer', 'canceled', 'cancelled') END) AS cost_pending
FROM {{calls}}
GROUP BY ALL
ORDER BY ALL
