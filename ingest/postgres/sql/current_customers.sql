-- Selects all customers in the order of Customer.Compare.
SELECT user_id, id FROM {{customers}} WHERE user_id IS NOT NULL ORDER BY user_id, id
