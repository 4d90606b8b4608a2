-- One tenant's working store. Rows are kept as they came from the source, typed; what can be derived is
-- derived by the views and macros below. Columns that begin with an underscore are the warehouse's own:
--   _source_at  the source's own time of this version of the row, where it has one: older never overwrites newer
--   _hash       over the row's values, so that an unchanged row is known without comparing them
--   _seq        number of the commit that last changed the row
-- There is no unique index on purpose: replacing rows in bulk is about eight times slower with one. A batch is
-- de-duplicated before its merge, and only the merge writes.

CREATE TABLE calls (
    id               UUID NOT NULL,
    call_sid         VARCHAR,
    direction        VARCHAR,
    status           VARCHAR,
    from_number      VARCHAR,
    to_number        VARCHAR,
    phone_number     VARCHAR,
    customer_number  VARCHAR,            -- digits of the customer's number, whichever field held it
    duration         JSON,               -- a number or a text such as "2m 18s"
    duration_seconds INTEGER,
    cost             DECIMAL(10, 4),     -- USD; NULL or 0 while pending
    summary          VARCHAR,
    transcript       JSON,               -- in whichever shape it came
    recording_url    VARCHAR,
    provider         VARCHAR,
    started_at       TIMESTAMPTZ,
    ended_at         TIMESTAMPTZ,
    created_at       TIMESTAMPTZ NOT NULL,
    assistant_id     UUID,
    metadata         JSON,
    stt_minutes      DOUBLE,
    tts_characters   BIGINT,
    _source_at       TIMESTAMPTZ,
    _hash            UBIGINT NOT NULL,
    _seq             BIGINT NOT NULL
);

CREATE TABLE customers (
    id                UUID NOT NULL,
    name              VARCHAR,
    email             VARCHAR,
    phone_number      VARCHAR,
    customer_number   VARCHAR,           -- digits of phone_number
    source            VARCHAR,
    interaction_count BIGINT,
    last_interaction  TIMESTAMPTZ,
    variables         JSON,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ,
    _source_at        TIMESTAMPTZ,
    _hash             UBIGINT NOT NULL,
    _seq              BIGINT NOT NULL
);

CREATE TABLE messages (
    id              UUID NOT NULL,
    direction       VARCHAR,
    content         JSON,
    message_type    VARCHAR,
    from_number     VARCHAR,
    to_number       VARCHAR,
    customer_number VARCHAR,             -- digits of the customer's number
    status          VARCHAR,
    is_from_bot     BOOLEAN,
    delivered_at    TIMESTAMPTZ,
    read_at         TIMESTAMPTZ,
    created_at      TIMESTAMPTZ NOT NULL,
    customer_id     UUID,
    assistant_id    UUID,
    wa_message_id   VARCHAR,
    _source_at      TIMESTAMPTZ,
    _hash           UBIGINT NOT NULL,
    _seq            BIGINT NOT NULL
);

-- The number of the newest commit.
CREATE TABLE clock (seq BIGINT NOT NULL);
INSERT INTO clock VALUES (0);

-- What the lake does not show yet: one row per commit, dataset and month it touched ('' for a dataset of one file).
CREATE TABLE unpublished (
    dataset VARCHAR NOT NULL,
    month   VARCHAR NOT NULL,
    seq     BIGINT NOT NULL
);

-- A time as the API writes it: UTC, milliseconds.
CREATE MACRO iso(moment) AS strftime(moment::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%gZ');

-- Seconds of a duration as the platform writes it: 138, "138", "2m 18s", "1h 2m", "45s", "02:18", "1:02:03". Anything else, and
-- more than an INTEGER holds: NULL.
CREATE MACRO duration_to_seconds(duration) AS TRY_CAST(round(
    CASE WHEN duration IS NULL THEN NULL
         WHEN TRY_CAST(duration ->> '$' AS DOUBLE) IS NOT NULL THEN TRY_CAST(duration ->> '$' AS DOUBLE)
         WHEN regexp_full_match(duration ->> '$', '\s*(\d+\s*h)?\s*(\d+\s*m)?\s*(\d+\s*s)?\s*') AND regexp_matches(duration ->> '$', '\d')
         THEN coalesce(TRY_CAST(regexp_extract(duration ->> '$', '(\d+)\s*h', 1) AS DOUBLE), 0) * 3600
            + coalesce(TRY_CAST(regexp_extract(duration ->> '$', '(\d+)\s*m', 1) AS DOUBLE), 0) * 60
            + coalesce(TRY_CAST(regexp_extract(duration ->> '$', '(\d+)\s*s', 1) AS DOUBLE), 0)
         WHEN regexp_full_match(duration ->> '$', '\s*(\d+:)?\d{1,2}:\d{2}\s*')
         THEN coalesce(TRY_CAST(regexp_extract(duration ->> '$', '(\d+):\d+:\d+', 1) AS DOUBLE), 0) * 3600
            + TRY_CAST(regexp_extract(duration ->> '$', '(\d+):\d+\s*$', 1) AS DOUBLE) * 60
            + TRY_CAST(regexp_extract(duration ->> '$', '(\d+)\s*$', 1) AS DOUBLE)
    END) AS INTEGER);

-- One name per side, whatever the platform's version called it; a name it does not know stays as it is.
CREATE MACRO speaker_name(name) AS
    CASE name WHEN 'AI' THEN 'AI' WHEN 'Caller' THEN 'Caller' ELSE -- the usual ones first: this runs for every turn
    CASE lower(name) WHEN 'ai' THEN 'AI' WHEN 'assistant' THEN 'AI' WHEN 'agent' THEN 'AI' WHEN 'bot' THEN 'AI'
                     WHEN 'caller' THEN 'Caller' WHEN 'user' THEN 'Caller' WHEN 'customer' THEN 'Caller' WHEN 'human' THEN 'Caller'
                     ELSE name END END;

-- A list of {speaker, text}, {role, content, timestamp?} or {role, message, timestamp_ms}.
CREATE MACRO turns_of_list(transcript) AS list_transform(
    from_json(transcript, '[{"speaker":"VARCHAR","role":"VARCHAR","text":"VARCHAR","content":"VARCHAR","message":"VARCHAR","timestamp":"VARCHAR","timestamp_ms":"VARCHAR"}]'),
    lambda turn: {
        'speaker': speaker_name(coalesce(turn.speaker, turn.role)),
        'text': coalesce(turn.text, turn.content, turn.message),
        'timestamp_ms': CASE WHEN turn.timestamp_ms IS NOT NULL THEN TRY_CAST(turn.timestamp_ms AS BIGINT)
                             WHEN turn.timestamp IS NOT NULL
                             THEN coalesce(TRY_CAST(turn.timestamp AS BIGINT), epoch_ms(TRY_CAST(turn.timestamp AS TIMESTAMPTZ))) END});

-- The record and unit separators (30, 31) mark where turns and names end in turns_of_text; a text must not hold its own.
CREATE MACRO without_separators(text) AS
    CASE WHEN contains(text, chr(30)) OR contains(text, chr(31)) THEN translate(text, chr(30) || chr(31), '') ELSE text END;

-- One text, "Caller: …\nAssistant: …"; a line that names no speaker belongs to the turn before it, and what is said is
-- kept to the letter, but for the line breaks between turns.
CREATE MACRO turns_of_text(transcript) AS list_transform(
    list_filter(
        string_split(regexp_replace(rtrim(without_separators(transcript), E'\r\n'),
            '(?i)(^|[\r\n]+)[ \t]*(AI|Assistant|Agent|Bot|Caller|User|Customer|Human)[ \t]*:[ \t]?', chr(30) || '\2' || chr(31), 'g'), chr(30)),
        lambda part: part <> ''),
    lambda part: {
        'speaker': CASE WHEN contains(part, chr(31)) THEN speaker_name(split_part(part, chr(31), 1)) END,
        'text': CASE WHEN contains(part, chr(31)) THEN split_part(part, chr(31), 2) ELSE part END,
        'timestamp_ms': NULL::BIGINT});

-- A transcript of any shape as one list of (speaker, text, timestamp_ms); NULL where there is none.
-- The JSON of a list may itself have come as a text. The first character of stored JSON tells its kind without a parse.
CREATE MACRO turns(transcript) AS
    CASE
        WHEN starts_with(transcript, '[') THEN turns_of_list(transcript)
        WHEN starts_with(transcript, '"') THEN CASE WHEN starts_with(ltrim(transcript ->> '$'), '[') AND json_valid(transcript ->> '$')
                                 THEN turns_of_list((transcript ->> '$')::JSON)
                                 ELSE turns_of_text(transcript ->> '$') END
    END;

-- The turns of a call: some have their transcript in their metadata only.
CREATE MACRO turns_of_call(transcript, metadata) AS turns(coalesce(transcript, metadata -> '$.transcript'));

-- Every turn of every call, in the order spoken; turn counts from 1.
CREATE VIEW transcript_turns AS
    SELECT call_id, created_at, turn, said.speaker AS speaker, said.text AS text, said.timestamp_ms AS timestamp_ms
    FROM (SELECT id AS call_id, created_at, unnest(turns) AS said, generate_subscripts(turns, 1) AS turn
          FROM (SELECT id, created_at, turns_of_call(transcript, metadata) AS turns FROM calls));
