created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
AND ($customer_id::UUID IS NULL OR customer_id = $customer_id::UUID)
AND ($phone_digits::VARCHAR IS NULL OR $phone_digits::VARCHAR <> ''
     AND (customer_number = $phone_digits::VARCHAR
          OR translate(from_number, ' +-()./' || chr(9) || chr(160) || chr(8209) || chr(8211), '') = $phone_digits::VARCHAR
          OR translate(to_number, ' +-()./' || chr(9) || chr(160) || chr(8209) || chr(8211), '') = $phone_digits::VARCHAR))
AND ($phone_text::VARCHAR IS NULL OR from_number = $phone_text::VARCHAR OR to_number = $phone_text::VARCHAR)
