-- How many rows of each tenant have each outcome, by the months that the lake must be told of: the one that a row is in now or, being deleted,
-- was in, and the one that it has moved from. Months are UTC, as they are in epoch_us.
SELECT tenant_id::VARCHAR, outcome, time_changed,
       CASE WHEN outcome IN ('new', 'revived', 'changed', 'moved') THEN strftime(make_timestamp(epoch_us(created_at)), '%Y-%m')
            WHEN outcome = 'deleted' THEN strftime(make_timestamp(epoch_us(kept_created_at)), '%Y-%m') END AS month,
       CASE WHEN outcome = 'moved' THEN strftime(make_timestamp(epoch_us(kept_created_at)), '%Y-%m') END AS left_month,
       count(*), min(created_at), max(created_at)
FROM delta GROUP BY ALL;
