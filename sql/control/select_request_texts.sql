-- Selects the texts of clients in the request log.
SELECT DISTINCT tenant_id, path, query FROM requests;
