DELETE FROM source_lags WHERE tenant_id = {{tenant}}::UUID AND source = {{source}};
INSERT INTO source_lags VALUES ({{tenant}}::UUID, {{source}}, {{state}}, {{files}});
