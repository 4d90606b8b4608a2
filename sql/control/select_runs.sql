SELECT run::VARCHAR FROM source_runs ORDER BY source;
