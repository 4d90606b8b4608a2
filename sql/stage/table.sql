-- A file that DuckDB reads itself: its columns as text or JSON.
SELECT {{line}} AS line, to_json(loose_row)::VARCHAR AS raw, NULL::VARCHAR AS defect, {{columns}}, {{unknown}} AS unknown
FROM {{relation}} AS loose_row
