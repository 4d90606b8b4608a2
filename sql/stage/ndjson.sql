-- Parses one JSON object per line. A line that is not an object has a defect and no fields. Unknown fields are looked
-- for in the first lines and in one of 16 others, because a new field usually occurs in many rows. At most 256 fields of
-- a line are compared.
SELECT line, text AS raw, tenant, {{columns}},
       CASE WHEN line <= 2048 OR line % 16 = 0 THEN nullif(list_filter(TRY(json_keys(text))[:256], lambda key: NOT list_contains({{known}}, key)), []) END AS unknown,
       coalesce(defect, CASE WHEN source IS NULL OR NOT starts_with(text, '{') THEN 'line is not a JSON object' END) AS defect
FROM (SELECT line, text, defect, tenant, TRY(json_transform(text, '{{fields}}')) AS source FROM {{lines}})
