-- Selects the names of the sources of many tenants.
SELECT DISTINCT source FROM (SELECT source FROM source_states UNION ALL SELECT source FROM source_files) ORDER BY source;
