-- Numbers and outcomes of calls, for each period and group; one row if there are no groups.
--   answered                    status completed or in-progress
--   completed                   status completed
--   missed                      status no-answer, busy or failed. Other statuses are open or unknown and count in no rate
--   answer_rate, completion_rate    answered or completed, divided by answered + missed; NULL if these are 0.
--   success_rate                completed, divided by all calls, as on the platform's dashboard.
--   seconds, seconds_mean, seconds_p50 …    durations of calls with a known duration
--   busiest_hours               the three hours of the day with the most calls, in descending order; ties by hour
-- All percentiles repeat the same quantile_cont expression, which DuckDB computes once.
SELECT {{columns}}
       count(*) AS calls, count(*) FILTER (answered) AS answered, count(*) FILTER (status = 'completed') AS completed, count(*) FILTER (missed) AS missed,
       count(*) FILTER (answered) / nullif(count(*) FILTER (answered OR missed), 0) AS answer_rate,
       count(*) FILTER (status = 'completed') / nullif(count(*) FILTER (answered OR missed), 0) AS completion_rate,
       count(*) FILTER (status = 'completed') / nullif(count(*), 0) AS success_rate,
       sum(seconds)::BIGINT AS seconds, avg(seconds) AS seconds_mean,
       quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[1] AS seconds_p50, quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[2] AS seconds_p90,
       quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[3] AS seconds_p95, quantile_cont(seconds::DOUBLE, [0.5, 0.9, 0.95, 0.99])[4] AS seconds_p99,
       list_transform(list_sort(list_transform(coalesce(map_entries(histogram(hour(local))), []), lambda e: {'fewer': -e.value::BIGINT, 'hour': e.key}))[:3],
                      lambda e: {'hour': e.hour, 'calls': -e.fewer}) AS busiest_hours
FROM (SELECT *, status IN ('completed', 'in-progress') AS answered, status IN ('no-answer', 'busy', 'failed') AS missed
      FROM (SELECT * REPLACE (replace(status, '_', '-') AS status), {{local}} AS local, nullif({{seconds}}, 0) AS seconds
            FROM ({{rows}})))
{{grouping}}
