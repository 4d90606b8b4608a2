created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($status::VARCHAR IS NULL OR replace(status, '_', '-') = replace($status::VARCHAR, '_', '-'))
AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
AND ($assistant_id::UUID IS NULL OR assistant_id = $assistant_id::UUID)
AND ($phone_digits::VARCHAR IS NULL OR $phone_digits::VARCHAR <> '' AND customer_number = $phone_digits::VARCHAR)
AND ($phone_text::VARCHAR IS NULL
     OR coalesce(nullif(trim(phone_number), ''), CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END) = $phone_text::VARCHAR)
