DELETE FROM requests WHERE received_at < $before::TIMESTAMPTZ;
