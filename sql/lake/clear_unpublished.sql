-- Removes the published partitions from unpublished, unless a later commit changed them again. $published and
-- unpublished are objects of partitions and commit numbers.
UPDATE clock SET unpublished = coalesce((SELECT json_group_object(key, value) FROM clock, json_each(unpublished)
    WHERE value::BIGINT > coalesce(($published::JSON ->> key)::BIGINT, 0)), '{}');
