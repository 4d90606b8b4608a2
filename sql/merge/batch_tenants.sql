-- The tenants of the staged rows, how many rows each has, how many of them are refused, and whether an id may be among them
-- twice, and fields that nobody knows. Of the rows that are not refused: how many are deletions, in which months (UTC) they were created, and
-- when the first and the last of them.
SELECT tenant_id::VARCHAR, count(*), count(raw), count(*) > count(DISTINCT id),
       to_json(list_sort(list_distinct(flatten(list(unknown) FILTER (unknown IS NOT NULL))))[:{{most}}])::VARCHAR,
       count(deleted_at) FILTER (raw IS NULL),
       array_to_string(list_transform(list(DISTINCT date_trunc('month', make_timestamp(epoch_us(created_at)))) FILTER (raw IS NULL), lambda month: strftime(month, '%Y-%m')), ','),
       min(created_at) FILTER (raw IS NULL), max(created_at) FILTER (raw IS NULL)
FROM staged GROUP BY tenant_id ORDER BY tenant_id;
