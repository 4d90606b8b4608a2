-- Selects the requests that exceed a bound: for each tenant, and for the requests without a valid key together, the time
-- of the newest one. Requests without a valid key exceed it beyond the newest $keyless; other requests beyond $most: the
-- oldest of the tenants with the most requests, so that no tenant displaces the requests of another tenant that has fewer.
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
