DELETE FROM source_states WHERE source = {{source}};
INSERT INTO source_states VALUES ({{source}}, {{state}});
