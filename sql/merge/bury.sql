INSERT INTO tombstones
SELECT {{dataset_name}}, id, kept_at, (SELECT seq FROM clock) FROM delta WHERE outcome IN ('deleted', 'foretold');
