-- The tenants of the staged rows, how many rows each has, how many of them are refused, and whether an id may be among them
-- twice, and fields that nobody knows.
SELECT tenant_id::VARCHAR, count(*), count(raw), count(*) > count(DISTINCT id),
       to_json(list_sort(list_distinct(flatten(list(unknown) FILTER (unknown IS NOT NULL))))[:{{most}}])::VARCHAR FROM staged GROUP BY tenant_id ORDER BY tenant_id;
