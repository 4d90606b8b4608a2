-- What can be taken in again at once: rows of one dataset, one tenant (or none, where the rows say theirs) and one origin.
SELECT coalesce(dataset, ''), coalesce(tenant_id, ''), coalesce(file, ''), max(line) = 0 FROM ({{rows}}) WHERE row IS NOT NULL GROUP BY ALL ORDER BY ALL;
