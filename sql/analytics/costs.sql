-- Costs of calls in US dollars, for each period and group; one row if there are no groups.
--   calls                    number of calls.
--   pending_calls            calls with a cost of NULL or 0 that will get one: those in progress, and completed ones with a length.
--                            The platform bills no others.
--   cost, cost_per_call      sum and mean of the costs above 0; NULL if there are none. All other costs also ignore calls without one.
--   cost_p50 … cost_p99      interpolated percentiles; they repeat one quantile_cont expression, which DuckDB computes once.
--   cost_per_minute          over calls with a known cost and a known duration.
--   cost_per_completed_call  mean over completed calls.
--   components               sums of metadata.cost_breakdown over all calls that have it. other is the sum of the members with
--                            other names, except total
--   stt_minutes, tts_characters    sums over all calls, in the types of the export cost_daily
SELECT {{columns}}
       count(*) AS calls, count(*) FILTER (cost IS NULL AND CASE status WHEN 'completed' THEN seconds > 0
           ELSE coalesce(status, '') NOT IN ('busy', 'failed', 'no-answer', 'canceled', 'cancelled') END) AS pending_calls,
       sum(cost) AS cost, avg(cost) AS cost_per_call,
       (sum(cost) FILTER (seconds > 0))::DOUBLE * 60 / sum(seconds) FILTER (seconds > 0 AND cost IS NOT NULL) AS cost_per_minute,
       avg(cost) FILTER (status = 'completed') AS cost_per_completed_call,
       quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[1] AS cost_p50, quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[2] AS cost_p90,
       quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[3] AS cost_p95, quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[4] AS cost_p99,
       CASE WHEN isfinite(sum(stt_minutes)) THEN sum(stt_minutes) END AS stt_minutes, sum(tts_characters)::DECIMAL(38, 0) AS tts_characters,
       {'stt': sum(CASE WHEN parts IS NULL THEN named.stt ELSE TRY_CAST(parts['stt'] AS DECIMAL(18, 8)) END),
        'llm': sum(CASE WHEN parts IS NULL THEN named.llm ELSE TRY_CAST(parts['llm'] AS DECIMAL(18, 8)) END),
        'tts': sum(CASE WHEN parts IS NULL THEN named.tts ELSE TRY_CAST(parts['tts'] AS DECIMAL(18, 8)) END),
        'telephony': sum(CASE WHEN parts IS NULL THEN named.telephony ELSE TRY_CAST(parts['telephony'] AS DECIMAL(18, 8)) END),
        'infra': sum(CASE WHEN parts IS NULL THEN named.infra ELSE TRY_CAST(parts['infra'] AS DECIMAL(18, 8)) END),
        'other': sum(CASE WHEN parts IS NOT NULL THEN list_sum(list_transform(list_filter(map_entries(parts),
            lambda part: part.key NOT IN ('stt', 'llm', 'tts', 'telephony', 'infra', 'total')), lambda part: TRY_CAST(part.value AS DECIMAL(18, 8)))) END)
       } AS components
FROM (SELECT *,
             CASE WHEN plain THEN from_json(metadata, '{"cost_breakdown": {"stt": "DECIMAL(18,8)", "llm": "DECIMAL(18,8)", "tts": "DECIMAL(18,8)", "telephony": "DECIMAL(18,8)", "infra": "DECIMAL(18,8)"}}').cost_breakdown END AS named,
             CASE WHEN NOT plain THEN from_json(metadata, '{"cost_breakdown": "MAP(VARCHAR, VARCHAR)"}').cost_breakdown END AS parts
      FROM (SELECT * REPLACE (nullif(cost, 0) AS cost, replace(status, '_', '-') AS status), {{local}} AS local, {{seconds}} AS seconds,
                   -- If all values of the breakdown are numbers under known names, only these names are read, which is faster than a MAP.
                   CASE WHEN contains(metadata, 'cost_breakdown') THEN regexp_full_match(metadata,
                       '\{[^{}]*"cost_breakdown":\s*\{\s*("(stt|llm|tts|telephony|infra|total)":\s*[-+.0-9eE]{1,15}\s*,?\s*)*\}[^{}]*\}') END AS plain
            FROM ({{rows}})))
{{grouping}}
