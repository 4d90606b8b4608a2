{
    'id': id, 'direction': direction, 'content': content, 'message_type': message_type,
    'from_number': from_number, 'to_number': to_number, 'status': status, 'is_from_bot': is_from_bot,
    'delivered_at': iso(delivered_at), 'read_at': iso(read_at), 'created_at': iso(created_at),
    'customer_id': customer_id, 'assistant_id': assistant_id
}
