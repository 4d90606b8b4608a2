DELETE FROM source_runs WHERE source = {{source}};
INSERT INTO source_runs VALUES ({{source}}, {{run}});
