-- Deletes requests older than $before, requests without a valid key beyond the newest $keyless, and other requests
-- beyond $most: the oldest of the tenants with the most requests, so that no tenant displaces the requests of another
-- tenant that has fewer.
DELETE FROM requests
WHERE received_at < $before::TIMESTAMPTZ OR rowid IN (
    SELECT row
    FROM (
        SELECT rowid AS row, received_at, keyless, row_number() OVER (PARTITION BY keyless, owner ORDER BY received_at DESC) AS nth
        FROM (
            SELECT rowid, received_at, key_id IS NULL OR status = 401 AS keyless, CASE WHEN NOT keyless THEN tenant_id END AS owner
            FROM requests
        )
        WHERE (SELECT count(*) FROM requests) > least($most, $keyless)
    )
    QUALIFY row_number() OVER (PARTITION BY keyless ORDER BY nth, received_at DESC) > CASE WHEN keyless THEN $keyless ELSE $most END
);
