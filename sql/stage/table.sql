-- A file that DuckDB reads itself: its columns as text or JSON.
SELECT {{line}} AS line, to_json(source)::VARCHAR AS raw, NULL::VARCHAR AS defect, {{columns}}
FROM {{relation}} AS source
