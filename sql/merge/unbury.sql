DELETE FROM tombstones WHERE dataset = {{dataset_name}} AND id IN (SELECT id FROM delta WHERE outcome = 'revived');
