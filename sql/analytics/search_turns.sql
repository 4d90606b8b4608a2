-- The matching turns of some calls. The condition on created_at lets DuckDB skip row groups.
SELECT call_id, turn, speaker, text, offset_ms, assistant_id, direction, replace(status, '_', '-') AS status
FROM ({{turns}})
WHERE created_at IN ({{times}}) AND call_id IN ({{calls}}) AND {{condition}}
QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY turn) <= $most
ORDER BY call_id, turn;
