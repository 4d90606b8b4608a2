-- One page, newest first; id breaks ties. The inner query sorts narrow columns and fetches only the rows of the page.
SELECT to_json({{item}})::VARCHAR
FROM (FROM {{dataset}} WHERE {{where}} ORDER BY created_at DESC, id LIMIT $limit OFFSET $offset)
ORDER BY created_at DESC, id;
