-- The refused rows of files of the quarantine. row is the text as it came; whoever mends it may also write it as the object it should
-- be. It is null where a whole file was refused.
SELECT parse_filename(filename) AS name, list_position({{files}}, filename) AS place, file, coalesce(line, 0) AS line, dataset, tenant_id, reason,
       CASE WHEN json_type(row) = 'VARCHAR' THEN row ->> '$' WHEN json_type(row) <> 'NULL' THEN row::VARCHAR END AS row
FROM read_json({{files}}, format = 'newline_delimited', filename = true, maximum_object_size = {{longest}},
     columns = {file: 'VARCHAR', line: 'BIGINT', dataset: 'VARCHAR', tenant_id: 'VARCHAR', reason: 'VARCHAR', row: 'JSON'})
