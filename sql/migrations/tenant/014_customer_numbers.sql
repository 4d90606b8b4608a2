-- customer_number has the digits of phone numbers only. Another text, such as client:web-7, is kept as it is.
UPDATE calls SET customer_number = nullif(trim(coalesce(nullif(trim(phone_number), ''), CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END)), '')
WHERE NOT regexp_full_match(coalesce(nullif(trim(phone_number), ''), CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END), '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*');
UPDATE customers SET customer_number = nullif(trim(phone_number), '')
WHERE NOT regexp_full_match(phone_number, '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*');
UPDATE messages SET customer_number = nullif(trim(CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END), '')
WHERE NOT regexp_full_match(CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END, '(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*');
