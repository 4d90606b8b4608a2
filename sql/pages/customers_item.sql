{
    'id': id, 'name': name, 'email': email, 'phone_number': phone_number, 'source': source,
    'interaction_count': interaction_count, 'last_interaction': iso(last_interaction), 'variables': variables,
    'created_at': iso(created_at), 'updated_at': iso(updated_at)
}
