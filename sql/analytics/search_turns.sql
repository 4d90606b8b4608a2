-- The turns with what is searched for, of some calls, whose times find them.
SELECT call_id, turn, speaker, text, offset_ms, assistant_id, direction, replace(status, '_', '-') AS status
FROM ({{turns}})
WHERE created_at IN ({{times}}) AND call_id IN ({{calls}}) AND {{condition}}
QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY turn) <= $most
ORDER BY call_id, turn;
