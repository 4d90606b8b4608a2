-- What calls cost, in US dollars: for each period and group, or as one row where there are none.
--   calls, pending_calls     all of them; those whose cost is NULL or 0, which is not known yet, and not free
--   cost                     of the calls whose cost is known, as are all that follow; NULL where there is none
--   cost_per_call, cost_p50, cost_p90, cost_p95, cost_p99    the mean; percentiles, interpolated, of one aggregate that is computed once
--   cost_per_minute          by the calls whose length is known, too
--   cost_per_completed_call  the mean of the completed ones
--   components               of metadata.cost_breakdown, of all calls that have it; other: the sum of what has another name, but "total"
--   stt_minutes, tts_characters    of all calls
SELECT {{columns}}
       count(*) AS calls, count(*) FILTER (cost IS NULL) AS pending_calls,
       sum(cost) AS cost, avg(cost) AS cost_per_call,
       (sum(cost) FILTER (seconds > 0))::DOUBLE * 60 / sum(seconds) FILTER (seconds > 0 AND cost IS NOT NULL) AS cost_per_minute,
       avg(cost) FILTER (status = 'completed') AS cost_per_completed_call,
       quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[1] AS cost_p50, quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[2] AS cost_p90,
       quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[3] AS cost_p95, quantile_cont(cost::DOUBLE, [0.5, 0.9, 0.95, 0.99])[4] AS cost_p99,
       sum(stt_minutes) AS stt_minutes, sum(tts_characters)::BIGINT AS tts_characters,
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
                   -- Numbers under the usual names and no other object in metadata: then these names are all that is looked for, which takes less than a MAP.
                   CASE WHEN contains(metadata, 'cost_breakdown') THEN regexp_full_match(metadata,
                       '\{[^{}]*"cost_breakdown":\s*\{\s*("(stt|llm|tts|telephony|infra|total)":\s*[-+.0-9eE]{1,15}\s*,?\s*)*\}[^{}]*\}') END AS plain
            FROM ({{rows}})))
{{grouping}}
