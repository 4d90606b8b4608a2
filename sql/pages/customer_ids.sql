SELECT id::VARCHAR FROM customers WHERE id > $id::UUID ORDER BY id LIMIT $limit;
