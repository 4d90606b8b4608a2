-- One JSON object per line; a line that is none has no fields and a defect.
SELECT line, text AS raw, {{columns}},
       coalesce(defect, CASE WHEN is_object IS NULL THEN 'line is no JSON' WHEN NOT is_object THEN 'line is JSON, but no object' END) AS defect
FROM (SELECT line, text, defect,
             TRY(json_transform(text, '{{fields}}')) AS source,
             TRY(json_type(text)) = 'OBJECT' AS is_object
      FROM lines)
