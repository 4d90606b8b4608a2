-- A file that DuckDB reads itself, or a part of it: its columns as text or JSON.
SELECT {{line}} AS line, loose_row AS raw, NULL::VARCHAR AS defect, {{columns}}, {{unknown}} AS unknown
FROM {{relation}} AS loose_row {{part}}
