-- Selects the rows of one group as JSON lines. Rows of a pulled source have no line number and are numbered here.
(SELECT CASE WHEN line > 0 THEN line ELSE row_number() OVER () END AS line, row AS text, NULL::VARCHAR AS defect FROM ({{rows}})
 WHERE row IS NOT NULL AND coalesce(dataset, '') = {{dataset}} AND coalesce(tenant_id, '') = {{tenant}} AND coalesce(file, '') = {{file}})
