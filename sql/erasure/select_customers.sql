-- Selects the customers with an id, or with a number that has one of the keys.
SELECT id::VARCHAR, coalesce(name, ''), coalesce(email, ''), coalesce(phone_number, '') FROM {{store}}.customers
WHERE id = $id::UUID OR list_has_any(memory.main.number_keys(phone_number), from_json($keys::VARCHAR, '["VARCHAR"]'));
