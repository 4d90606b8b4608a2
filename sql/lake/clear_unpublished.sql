-- What was published is struck off, unless a later commit has touched it too: published is an object of editions and commits, as unpublished is.
UPDATE clock SET unpublished = coalesce((SELECT json_group_object(key, value) FROM clock, json_each(unpublished)
    WHERE value::BIGINT > coalesce(($published::JSON ->> key)::BIGINT, 0)), '{}');
