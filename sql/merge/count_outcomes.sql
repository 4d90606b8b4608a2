-- Counts the outcomes, as texts, per tenant and per month that has to be published: month is the month that the row is
-- in (or was deleted from), left_month the month that it moved from. Months are in UTC, like epoch_us.
SELECT COLUMNS(*)::VARCHAR FROM (
    SELECT tenant_id, outcome, time_changed,
           CASE WHEN outcome IN ('new', 'revived', 'changed', 'moved') THEN strftime(make_timestamp(epoch_us(created_at)), '%Y-%m')
                WHEN outcome = 'deleted' THEN strftime(make_timestamp(epoch_us(kept_created_at)), '%Y-%m') END AS month,
           CASE WHEN outcome = 'moved' THEN strftime(make_timestamp(epoch_us(kept_created_at)), '%Y-%m') END AS left_month,
           count(*) AS rows, epoch_us(min(created_at)) AS first, epoch_us(max(created_at)) AS last
    FROM delta GROUP BY ALL);
