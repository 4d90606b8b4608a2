-- Selects the ids of customers and of customers whose deletion was inferred.
FROM (SELECT id::VARCHAR AS text, false AS deleted, id FROM customers
      UNION ALL SELECT id::VARCHAR, true, id FROM tombstones WHERE dataset = 'customers' AND inferred)
SELECT text, deleted WHERE id > $id::UUID ORDER BY id LIMIT $limit;
