-- Every customer that is there, in the order in which those that the warehouse knows are compared with them.
SELECT user_id, id FROM {{customers}} WHERE user_id IS NOT NULL ORDER BY user_id, id
