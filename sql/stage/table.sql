-- Rows of a file with columns, as line and loose_row, a struct of them: each as text or JSON.
SELECT line, loose_row AS raw, NULL::VARCHAR AS defect, {{columns}}, {{unknown}} AS unknown FROM ({{relation}})
