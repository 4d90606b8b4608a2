created_at >= $from::TIMESTAMPTZ AND created_at < $before::TIMESTAMPTZ
AND ($direction::VARCHAR IS NULL OR direction = $direction::VARCHAR)
AND ($customer_id::UUID IS NULL OR customer_id = $customer_id::UUID)
AND ($phone::VARCHAR IS NULL OR $phone::VARCHAR <> '' AND (customer_number = $phone::VARCHAR
     OR CASE WHEN regexp_full_match(from_number, '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*') THEN regexp_replace(from_number, '[^0-9]', '', 'g') ELSE trim(from_number) END = $phone::VARCHAR
     OR CASE WHEN regexp_full_match(to_number, '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*') THEN regexp_replace(to_number, '[^0-9]', '', 'g') ELSE trim(to_number) END = $phone::VARCHAR))
