-- The rows are kept at another time of the source than they were, or came without one: what comes with a time between is older now.
UPDATE {{dataset}} SET _source_at = delta.kept_at
FROM delta WHERE retimed AND {{dataset}}.id = delta.id AND {{dataset}}.created_at = delta.created_at;
