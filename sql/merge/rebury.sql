-- The rows are as deleted as they were: nobody need hear of it.
UPDATE tombstones SET deleted_at = delta.kept_at
FROM delta WHERE outcome = 'redeleted' AND tombstones.dataset = {{dataset_name}} AND tombstones.id = delta.id;
