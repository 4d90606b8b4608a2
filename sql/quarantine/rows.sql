-- Reads refused rows from the files of the quarantine. row is the original text, or an object if the row was corrected
-- by hand. It is NULL if a whole file was refused.
SELECT parse_filename(filename) AS name, list_position({{files}}, filename) AS place, file, coalesce(line, 0) AS line, dataset, tenant_id, reason,
       CASE WHEN json_type(row) = 'VARCHAR' THEN row ->> '$' WHEN json_type(row) <> 'NULL' THEN row::VARCHAR END AS row
FROM read_json({{files}}, format = 'newline_delimited', filename = true, maximum_object_size = {{longest}},
     columns = {file: 'VARCHAR', line: 'BIGINT', dataset: 'VARCHAR', tenant_id: 'VARCHAR', reason: 'VARCHAR', row: 'JSON'})
