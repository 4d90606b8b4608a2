MERGE INTO {{store}}.source_states USING (SELECT {{source}} AS source, {{state}} AS state) AS noted USING (source)
WHEN MATCHED THEN UPDATE SET state = noted.state
WHEN NOT MATCHED THEN INSERT VALUES (noted.source, noted.state);
