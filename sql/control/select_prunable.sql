-- Selects the requests to remove: for each tenant, and for all requests without a valid key, the time of the newest
-- one. Of the requests without a valid key, the newest $keyless stay. Of the others, $most stay: the oldest requests of
-- the tenants with the most requests are removed, so that no tenant displaces the requests of a tenant that has fewer.
SELECT keyless, owner::VARCHAR, max(received_at)
FROM (
    SELECT received_at, keyless, owner
    FROM (
        SELECT received_at, keyless, owner, row_number() OVER (PARTITION BY keyless, owner ORDER BY received_at DESC) AS nth
        FROM (
            SELECT received_at, key_id IS NULL OR status = 401 AS keyless, CASE WHEN NOT keyless THEN tenant_id END AS owner
            FROM requests
        )
        WHERE (SELECT count(*) FROM requests) > least($most, $keyless)
    )
    QUALIFY row_number() OVER (PARTITION BY keyless ORDER BY nth, received_at DESC) > CASE WHEN keyless THEN $keyless ELSE $most END
)
GROUP BY ALL;
