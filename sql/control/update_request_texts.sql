-- Replaces texts of clients in the request log. $changes is a JSON list of the old and the new ones.
UPDATE requests SET path = change.new_path, query = change.new_query
FROM (SELECT unnest(from_json($changes::VARCHAR, '[{"tenant_id":"UUID","path":"VARCHAR","query":"VARCHAR","new_path":"VARCHAR","new_query":"VARCHAR"}]'), max_depth := 2)) AS change
WHERE requests.path = change.path AND requests.query = change.query AND requests.tenant_id IS NOT DISTINCT FROM change.tenant_id;
