SELECT name, coalesce(file, ''), line, coalesce(dataset, ''), coalesce(tenant_id, ''), coalesce(reason, ''), coalesce(row, '') FROM ({{rows}})
ORDER BY place, line LIMIT {{limit}};
