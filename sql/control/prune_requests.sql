-- Deletes requests older than $before, and those up to the times in $cuts, a JSON list of select_prunable's rows.
DELETE FROM requests
WHERE received_at < $before::TIMESTAMPTZ OR EXISTS (
    FROM (SELECT unnest(from_json($cuts::VARCHAR, '[{"keyless":"BOOLEAN","owner":"UUID","until":"TIMESTAMPTZ"}]'), max_depth := 2)) AS cut
    WHERE received_at <= cut.until AND cut.keyless = (key_id IS NULL OR status = 401) AND (cut.keyless OR tenant_id IS NOT DISTINCT FROM cut.owner)
);
