-- The published customers, all in one file.
SELECT id::VARCHAR AS id, name, email, phone_number, customer_number, source, interaction_count, last_interaction, variables, created_at, updated_at
FROM {{rows}}
