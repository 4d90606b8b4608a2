created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($status::VARCHAR IS NULL OR replace(status, '_', '-') = replace($status::VARCHAR, '_', '-'))
AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
AND ($assistant_id::UUID IS NULL OR assistant_id = $assistant_id::UUID)
AND ($phone::VARCHAR IS NULL OR customer_number = $phone::VARCHAR)
