DELETE FROM {{store}}.source_files WHERE source = {{source}} AND file IN (SELECT unnest({{files}}));
