-- The tables that package postgres reads, as in a complete deployment.
CREATE TABLE call_logs (
    id                   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id              uuid,
    assistant_id         uuid,
    call_sid             text,
    direction            text DEFAULT 'inbound',
    status               text DEFAULT 'initiated',
    from_number          text,
    to_number            text,
    phone_number         text,
    duration             text,
    duration_seconds     integer DEFAULT 0,
    cost                 numeric(10, 4) DEFAULT 0,
    summary              text,
    notes                text,
    transcript           jsonb,
    conversation_history jsonb DEFAULT '[]',
    recording_url        text,
    provider             text,
    metadata             jsonb DEFAULT '{}',
    stt_minutes          numeric DEFAULT 0,
    stt_seconds          integer DEFAULT 0,
    tts_characters       integer DEFAULT 0,
    started_at           timestamptz DEFAULT now(),
    ended_at             timestamptz,
    created_at           timestamptz DEFAULT now(),
    updated_at           timestamptz DEFAULT now()
);
CREATE INDEX ON call_logs (user_id);
CREATE INDEX ON call_logs (created_at DESC);

CREATE TABLE customers (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid NOT NULL,
    name              text NOT NULL,
    email             text,
    phone_number      text,
    source            text,
    interaction_count integer DEFAULT 0,
    last_interaction  timestamptz,
    variables         jsonb DEFAULT '{}',
    created_at        timestamptz DEFAULT now(),
    updated_at        timestamptz DEFAULT now()
);
CREATE INDEX ON customers (user_id);

CREATE TABLE whatsapp_configs (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL
);

CREATE TABLE whatsapp_messages (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    config_id         uuid,
    customer_id       uuid,
    assistant_id      uuid,
    wa_message_id     text,
    direction         text,
    message_type      text,
    content           jsonb DEFAULT '{}',
    from_number       text,
    to_number         text,
    status            text,
    is_from_bot       boolean DEFAULT false,
    delivered_at      timestamptz,
    read_at           timestamptz,
    message_timestamp timestamptz,
    created_at        timestamptz DEFAULT now()
);
CREATE INDEX ON whatsapp_messages (config_id);
CREATE INDEX ON whatsapp_messages (created_at DESC);

CREATE TABLE call_costs (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id          uuid,
    call_id          text,
    stt_cost_usd     numeric(10, 6) DEFAULT 0,
    llm_cost_usd     numeric(10, 6) DEFAULT 0,
    tts_cost_usd     numeric(10, 6) DEFAULT 0,
    livekit_cost_usd numeric(10, 6) DEFAULT 0,
    total_cost_usd   numeric(10, 6) DEFAULT 0,
    credits_charged  numeric(10, 2),
    created_at       timestamptz DEFAULT now()
);
CREATE INDEX ON call_costs (call_id);

CREATE TABLE api_keys (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL,
    label      text NOT NULL,
    key        text NOT NULL,
    type       text NOT NULL CHECK (type IN ('public', 'private')),
    created_at timestamptz DEFAULT now(),
    revoked_at timestamptz,
    is_revoked boolean DEFAULT false
);
