-- One JSON object per line, trimmed; a line that is none has no fields and a defect.
SELECT line, text AS raw, {{columns}},
       coalesce(defect, CASE WHEN source IS NULL OR NOT starts_with(text, '{') THEN 'line is no JSON object' END) AS defect
FROM (SELECT line, text, defect, TRY(json_transform(text, '{{fields}}')) AS source FROM {{lines}})
