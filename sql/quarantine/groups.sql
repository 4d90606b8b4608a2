-- Selects the groups of refused rows that can be ingested together: same dataset, tenant (or none) and origin.
SELECT coalesce(dataset, ''), coalesce(tenant_id, ''), coalesce(file, ''), max(line) = 0 FROM ({{rows}}) WHERE row IS NOT NULL GROUP BY ALL ORDER BY ALL;
