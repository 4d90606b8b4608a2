-- Selects the rows of a file with columns: line, and loose_row, a struct of the columns as text or JSON.
SELECT line, loose_row AS raw, NULL::VARCHAR AS defect, {{columns}}, {{unknown}} AS unknown FROM ({{relation}})
