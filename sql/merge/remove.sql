-- Joined on created_at too, which prunes row groups.
DELETE FROM {{dataset}} USING delta
WHERE outcome IN ('moved', 'deleted') AND {{dataset}}.id = delta.id AND {{dataset}}.created_at = delta.kept_created_at;
