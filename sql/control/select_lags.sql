SELECT tenant_id::VARCHAR, state::VARCHAR, to_json(files)::VARCHAR FROM source_lags WHERE source = $source ORDER BY tenant_id;
