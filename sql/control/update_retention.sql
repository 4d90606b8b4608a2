UPDATE tenants SET keep = nullif($keep, 'none') WHERE id = $id::UUID RETURNING id::VARCHAR;
