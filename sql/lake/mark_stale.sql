-- Adds partitions to those that are not published.
UPDATE clock SET unpublished = json_merge_patch(unpublished, (SELECT json_group_object(key, seq) FROM (SELECT unnest(from_json($keys, '["VARCHAR"]')) AS key)));
