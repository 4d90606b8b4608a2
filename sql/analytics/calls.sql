-- How many calls there were, and what became of them: for each period and group, or as one row where there are none.
--   answered, completed     of status completed or in-progress; of status completed
--   missed                  of status no-answer, busy or failed. What has another status is not over, or not known, and in no rate
--   answer_rate, completion_rate    answered, completed of those answered or missed; NULL where there are none
--   seconds, seconds_mean, seconds_p50 …    lengths of the calls whose length is known; the percentiles are of one aggregate that is computed once
--   busiest_hours           the three hours of the day with most calls, most first, the earlier first of two alike
SELECT {{columns}}
       count(*) AS calls, count(*) FILTER (answered) AS answered, count(*) FILTER (status = 'completed') AS completed, count(*) FILTER (missed) AS missed,
       count(*) FILTER (answered) / nullif(count(*) FILTER (answered OR missed), 0) AS answer_rate,
       count(*) FILTER (status = 'completed') / nullif(count(*) FILTER (answered OR missed), 0) AS completion_rate,
       sum(seconds)::BIGINT AS seconds, avg(seconds) AS seconds_mean,
       quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[1] AS seconds_p50, quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[2] AS seconds_p90,
       quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[3] AS seconds_p95, quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[4] AS seconds_p99,
       list_transform(list_sort(list_transform(coalesce(map_entries(histogram(hour(local))), []), lambda e: {'fewer': -e.value::BIGINT, 'hour': e.key}))[:3],
                      lambda e: {'hour': e.hour, 'calls': -e.fewer}) AS busiest_hours
FROM (SELECT *, status IN ('completed', 'in-progress') AS answered, status IN ('no-answer', 'busy', 'failed') AS missed
      FROM (SELECT * REPLACE (replace(status, '_', '-') AS status), {{local}} AS local, nullif({{seconds}}, 0) AS seconds
            FROM ({{rows}})))
{{grouping}}
