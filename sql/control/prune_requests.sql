-- What is older than $before, and all but the newest $most: whoever asks without a key must not fill the disk.
DELETE FROM requests
WHERE received_at < greatest($before::TIMESTAMPTZ, coalesce((SELECT received_at FROM requests ORDER BY received_at DESC LIMIT 1 OFFSET $most), '-infinity'));
