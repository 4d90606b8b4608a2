-- Selects the tenants of the staged rows. For each tenant: the number of rows and of refused rows, whether an id may
-- occur twice, and the unknown fields. For the rows that are not refused: the number of deletions, the months (UTC) of
-- created_at, and its minimum and maximum. At last, the number of suspicious rows.
SELECT tenant_id::VARCHAR, count(*), count(raw), count(*) > count(DISTINCT id),
       to_json(list_sort(list_distinct(flatten(list(unknown) FILTER (unknown IS NOT NULL))))[:{{most}}])::VARCHAR,
       count(deleted_at) FILTER (raw IS NULL),
       array_to_string(list_transform(list(DISTINCT date_trunc('month', make_timestamp(epoch_us(created_at)))) FILTER (raw IS NULL), lambda month: strftime(month, '%Y-%m')), ','),
       min(created_at) FILTER (raw IS NULL), max(created_at) FILTER (raw IS NULL), count(suspect)
FROM staged GROUP BY tenant_id ORDER BY tenant_id;
