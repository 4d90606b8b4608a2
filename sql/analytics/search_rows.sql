-- The calls of a search response as a table, one row per turn, in the order of the response. The slot is its JSON.
SELECT call.* EXCLUDE (turns), turn.*
FROM (SELECT call, unnest(call.turns) AS turn
      FROM (SELECT unnest(from_json({{calls}}, '[{"call_id": "VARCHAR", "created_at": "TIMESTAMPTZ", "assistant_id": "VARCHAR", "direction": "VARCHAR", "status": "VARCHAR", "matches": "BIGINT",
                "turns": [{"turn": "INTEGER", "speaker": "VARCHAR", "offset_ms": "BIGINT", "snippet": "VARCHAR", "snippet_start": "INTEGER", "places": [["INTEGER"]]}]}]')) AS call))
