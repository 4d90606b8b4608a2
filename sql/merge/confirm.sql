-- The rows are as they were, at a later time of the source: what comes with a time between is older now.
UPDATE {{dataset}} SET _source_at = delta._source_at
FROM delta WHERE outcome = 'confirmed' AND {{dataset}}.id = delta.id AND {{dataset}}.created_at = delta.created_at;
