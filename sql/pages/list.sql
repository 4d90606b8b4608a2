-- Selects one page, newest first; id breaks ties. The inner query sorts narrow columns and fetches only the rows of the
-- page.
SELECT to_json({{item}})::VARCHAR, created_at, id::VARCHAR
FROM (FROM {{dataset}} WHERE {{where}} AND ($after::TIMESTAMPTZ IS NULL OR created_at < $after::TIMESTAMPTZ OR id > $after_id::UUID)
      ORDER BY created_at DESC, id LIMIT $limit OFFSET $offset)
ORDER BY created_at DESC, id;
