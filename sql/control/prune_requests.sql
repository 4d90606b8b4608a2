-- Deletes requests older than $before and all except the newest $most, so that requests without a key cannot fill the
-- disk.
DELETE FROM requests
WHERE received_at < greatest($before::TIMESTAMPTZ, coalesce((SELECT received_at FROM requests ORDER BY received_at DESC LIMIT 1 OFFSET $most), '-infinity'));
