-- The tenants of the staged rows, how many rows each has, and how many of them are refused.
SELECT tenant_id::VARCHAR, count(*), count(raw) FROM staged GROUP BY tenant_id ORDER BY tenant_id;
