INSERT INTO {{store}}.source_files SELECT {{source}}, unnest({{files}});
