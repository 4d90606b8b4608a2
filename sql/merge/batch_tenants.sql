-- Selects the tenants of the staged rows, as texts. For each tenant: the number of rows and of refused rows, whether an
-- id may occur twice, and the unknown fields. For the rows that are not refused: the number of deletions, the months
-- (UTC) of created_at, and its minimum and maximum in microseconds. At last, the number of suspicious rows, and the
-- lowest number of a row of the table. The months are the keys of a histogram, because each DISTINCT has a hash table of its
-- own, which takes longer than a few rows.
SELECT COLUMNS(*)::VARCHAR FROM (
    SELECT tenant_id, count(*) AS rows, count(raw) AS refused, count(*) > count(DISTINCT id) AS twice,
           to_json(list_sort(list_distinct(flatten(list(unknown) FILTER (unknown IS NOT NULL))))[:{{most}}]) AS unknown,
           count(deleted_at) FILTER (raw IS NULL) AS deletions,
           array_to_string(list_transform(map_keys(histogram(date_trunc('month', make_timestamp(epoch_us(created_at)))) FILTER (raw IS NULL)), lambda month: strftime(month, '%Y-%m')), ',') AS months,
           epoch_us(min(created_at) FILTER (raw IS NULL)) AS first, epoch_us(max(created_at) FILTER (raw IS NULL)) AS last,
           count(suspect) AS suspects, min(min(rowid)) OVER () AS lowest
    FROM staged GROUP BY tenant_id)
ORDER BY tenant_id;
