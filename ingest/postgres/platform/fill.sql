-- Inserts synthetic rows. Each row depends only on its number. Tenants have equal shares of the calls, customers and
-- messages. Rows are created in the year before {{end}}, in the order of their numbers, and none is changed after
-- {{end}}.
INSERT INTO whatsapp_configs (id, user_id)
SELECT md5('config' || t)::uuid, md5('tenant' || t)::uuid FROM generate_series(0, {{tenants}} - 1) AS t;

INSERT INTO customers (id, user_id, name, email, phone_number, source, interaction_count, last_interaction, variables, created_at, updated_at)
SELECT md5('customer' || n)::uuid, md5('tenant' || n % {{tenants}})::uuid, 'Customer ' || n, CASE WHEN n % 10 > 0 THEN 'customer' || n || '@example.com' END,
       '+9198' || lpad(n::text, 8, '0'), (ARRAY['website', 'whatsapp', 'phone', NULL])[1 + n % 4], n % 7, least(at + interval '3 days', {{end}}),
       jsonb_build_object('tags', jsonb_build_array('premium')), at, least(at + interval '3 days', {{end}})
FROM (SELECT n, timestamptz {{end}} - interval '1 year' + interval '1 year' * (n::float8 / {{customers}}) AS at FROM generate_series(0, {{customers}} - 1) AS n) AS rows;

INSERT INTO call_logs (id, user_id, assistant_id, call_sid, direction, status, from_number, to_number, phone_number, duration, duration_seconds, cost, summary,
                       transcript, recording_url, provider, metadata, stt_seconds, tts_characters, started_at, ended_at, created_at, updated_at)
SELECT md5('call' || n)::uuid, md5('tenant' || n % {{tenants}})::uuid, md5('assistant' || n % 800)::uuid, 'CA' || md5('sid' || n), 'inbound', 'completed',
       '+9198' || lpad((n % 100000)::text, 8, '0'), '+918000000001', NULL, n % 300 || 's', n % 300, (n % 2000) / 10000.0, 'Asked for the state of order ' || n || '.',
       (SELECT jsonb_agg(jsonb_build_object('speaker', CASE turn % 2 WHEN 0 THEN 'AI' ELSE 'Caller' END,
                                            'text', 'This is what was said in turn ' || turn || ' of call ' || n || ', "quoted", and a few words more ' || left(md5(n::text || turn), 12)))
        FROM generate_series(0, 11) AS turn),
       'https://recordings.example.com/' || md5('recording' || n) || '.mp3', 'twilio', jsonb_build_object('topic', 'order ' || n % 50),
       n % 300, n % 3000, at, at + interval '5 minutes', at, least(at + interval '5 minutes', {{end}})
FROM (SELECT n, timestamptz {{end}} - interval '1 year' + interval '1 year' * (n::float8 / {{calls}}) AS at FROM generate_series(0, {{calls}} - 1) AS n) AS rows;

INSERT INTO call_costs (id, user_id, call_id, stt_cost_usd, llm_cost_usd, tts_cost_usd, livekit_cost_usd, total_cost_usd, credits_charged, created_at)
SELECT md5('cost' || n)::uuid, md5('tenant' || n % {{tenants}})::uuid, md5('call' || n)::uuid::text, 0.01, 0.02, 0.03, 0.004, 0.064, 6.4, timestamptz {{end}}
FROM generate_series(0, {{costs}} - 1) AS n;

INSERT INTO whatsapp_messages (id, config_id, customer_id, assistant_id, wa_message_id, direction, message_type, content, from_number, to_number, status, is_from_bot,
                               delivered_at, read_at, message_timestamp, created_at)
SELECT md5('message' || n)::uuid, md5('config' || n % {{tenants}})::uuid, md5('customer' || n % greatest({{customers}}, 1))::uuid, md5('assistant' || n % 800)::uuid,
       'wamid.' || md5('wa' || n), CASE n % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, 'text',
       jsonb_build_object('text', jsonb_build_object('body', 'Message ' || n || ': when will my order come? ' || md5(n::text))),
       '+9198' || lpad((n % 100000)::text, 8, '0'), '+918000000001', CASE n % 2 WHEN 0 THEN 'received' ELSE 'read' END, n % 2 = 1,
       CASE n % 2 WHEN 1 THEN at + interval '2 seconds' END, CASE n % 2 WHEN 1 THEN at + interval '90 seconds' END, at, at
FROM (SELECT n, timestamptz {{end}} - interval '1 year' + interval '1 year' * (n::float8 / {{messages}}) AS at FROM generate_series(0, {{messages}} - 1) AS n) AS rows;

INSERT INTO api_keys (id, user_id, label, key, type, created_at)
SELECT md5('key' || t)::uuid, md5('tenant' || t)::uuid, 'website', 'pk_' || md5('public key of ' || t), 'public', timestamptz {{end}} FROM generate_series(0, {{tenants}} - 1) AS t;

ANALYZE;
