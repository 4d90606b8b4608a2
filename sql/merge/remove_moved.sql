DELETE FROM {{dataset}} WHERE id IN (SELECT id FROM delta WHERE outcome = 'moved');
