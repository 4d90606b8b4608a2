created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
AND ($customer_id::UUID IS NULL OR customer_id = $customer_id::UUID)
AND ($phone_number::VARCHAR IS NULL
     OR customer_number = regexp_replace($phone_number::VARCHAR, '[^0-9]', '', 'g')
     OR from_number IN ($phone_number::VARCHAR, regexp_replace($phone_number::VARCHAR, '[^0-9]', '', 'g'), '+' || regexp_replace($phone_number::VARCHAR, '[^0-9]', '', 'g'))
     OR to_number IN ($phone_number::VARCHAR, regexp_replace($phone_number::VARCHAR, '[^0-9]', '', 'g'), '+' || regexp_replace($phone_number::VARCHAR, '[^0-9]', '', 'g')))
