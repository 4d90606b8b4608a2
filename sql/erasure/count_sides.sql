-- Counts the rows with one of the keys on the side of the account, and on that of the customer.
SELECT count(*) FILTER (list_has_any(memory.main.number_keys(own), keys)), count(*) FILTER (list_has_any(memory.main.number_keys(other), keys))
FROM (SELECT CASE direction WHEN 'inbound' THEN to_number WHEN 'outbound' THEN from_number END AS own,
             CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END AS other
      FROM (SELECT direction, from_number, to_number FROM {{store}}.calls UNION ALL SELECT direction, from_number, to_number FROM {{store}}.messages)),
     (SELECT from_json($keys::VARCHAR, '["VARCHAR"]') AS keys);
