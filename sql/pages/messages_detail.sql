struct_insert({{item}}, wa_message_id := wa_message_id)
