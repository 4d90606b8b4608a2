-- One JSON object per line, trimmed; a line that is none has no fields and a defect. Fields that nobody knows are looked for in the
-- first lines and in some of the others: a field that is new is in many. Of a line with many fields, the first 256 are compared.
SELECT line, text AS raw, {{columns}},
       CASE WHEN line <= 2048 OR line % 16 = 0 THEN nullif(list_filter(TRY(json_keys(text))[:256], lambda key: NOT list_contains({{known}}, key)), []) END AS unknown,
       coalesce(defect, CASE WHEN source IS NULL OR NOT starts_with(text, '{') THEN 'line is not a JSON object' END) AS defect
FROM (SELECT line, text, defect, TRY(json_transform(text, '{{fields}}')) AS source FROM {{lines}})
