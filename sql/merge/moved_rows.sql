-- Adds the rows of other tenants that have moved, each as the line of a deletion. An inferred deletion must not be older
-- than the row that it deletes.
INSERT INTO moved_rows
SELECT to_json({'user_id': held.tenant_id, 'id': held.id, 'deleted_at': greatest(now(), held._source_at)}) AS text
FROM ({{held}}) AS held SEMI JOIN moved ON held.id = moved.id AND held.tenant_id <> moved.tenant_id;
