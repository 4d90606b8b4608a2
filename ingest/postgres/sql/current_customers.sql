-- Selects all customers in the order of Customer.Compare.
SELECT user_id, id FROM {{customers}} WHERE {{customers.user_id is uuid}} AND {{customers.id is uuid}}
ORDER BY user_id {{customers.user_id order}}, id {{customers.id order}}
