SELECT to_json({{detail}})::VARCHAR FROM {{dataset}} WHERE id = $id::UUID;
