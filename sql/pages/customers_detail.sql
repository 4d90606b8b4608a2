struct_insert({{item}},
    recent_calls := (
        SELECT coalesce(list({
            'id': id, 'direction': direction, 'status': status, 'duration': duration, 'cost': cost,
            'summary': summary, 'created_at': iso(created_at)} ORDER BY created_at DESC, id), [])
        FROM (FROM calls WHERE customer_number = (SELECT customer_number FROM customers WHERE id = $id::UUID)
              ORDER BY created_at DESC, id LIMIT 10)),
    recent_messages := (
        SELECT coalesce(list({
            'id': id, 'direction': direction, 'content': content, 'message_type': message_type, 'status': status,
            'created_at': iso(created_at)} ORDER BY created_at DESC, id), [])
        FROM (FROM messages WHERE customer_id = $id::UUID
              ORDER BY created_at DESC, id LIMIT 10)))
