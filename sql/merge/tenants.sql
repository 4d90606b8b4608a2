-- The tenants of the staged rows, how many rows each has, how many of them are refused, and whether an id may be among them twice.
SELECT tenant_id::VARCHAR, count(*), count(raw), count(*) > count(DISTINCT id) FROM staged GROUP BY tenant_id ORDER BY tenant_id;
