DELETE FROM source_lags WHERE tenant_id = {{tenant}}::UUID AND source = {{source}};
