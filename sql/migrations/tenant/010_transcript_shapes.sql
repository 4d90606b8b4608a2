-- Turns of a list of the usual shapes: {speaker, text}, {role, content, timestamp} and {role, message, timestamp_ms}. A turn
-- with a field of another shape has no text; then turns reads the list with parse_turns. Such a turn has a
-- speaker of another name, a text of parts or a number, or a time that is not an integer of milliseconds.
CREATE OR REPLACE MACRO turns_of_list(transcript) AS list_transform(
    from_json(transcript, '[{"speaker":"VARCHAR","role":"VARCHAR","text":"VARCHAR","content":"VARCHAR","message":"VARCHAR","timestamp":"VARCHAR","timestamp_ms":"VARCHAR","start":"VARCHAR","start_time":"VARCHAR","time":"VARCHAR"}]'),
    lambda turn: {
        'speaker': speaker_name(coalesce(turn.speaker, turn.role)),
        'text': CASE WHEN coalesce(turn.speaker, turn.role) IS NULL OR turn."start" IS NOT NULL OR turn.start_time IS NOT NULL OR turn."time" IS NOT NULL
                       OR contains(turn.timestamp_ms, '.') OR (turn.timestamp IS NOT NULL AND (contains(turn.timestamp, '.') OR TRY_CAST(turn.timestamp AS BIGINT) IS NULL))
                       OR coalesce(turn.text, turn.content, turn.message, '[') < ':' AND regexp_matches(coalesce(turn.text, turn.content, turn.message, '['), '^[-0-9.eE+]+$')
                       OR starts_with(coalesce(turn.text, turn.content, turn.message, '['), '[') OR starts_with(coalesce(turn.text, turn.content, turn.message), '{')
                     THEN NULL
                     ELSE coalesce(turn.text, turn.content, turn.message) END,
        'timestamp_ms': coalesce(TRY_CAST(turn.timestamp_ms AS BIGINT), TRY_CAST(turn.timestamp AS BIGINT))});

-- Turns that the function parse_turns reads, which is slower and reads every shape.
CREATE OR REPLACE MACRO turns_of_any(transcript) AS list_transform(
    from_json(parse_turns(transcript::VARCHAR), '[{"speaker":"VARCHAR","text":"VARCHAR","timestamp_ms":"BIGINT"}]'),
    lambda turn: {'speaker': speaker_name(turn.speaker), 'text': turn.text, 'timestamp_ms': turn.timestamp_ms});

-- The list of one element binds the turns to a name, so that they are read once.
CREATE OR REPLACE MACRO turns_of_json(transcript) AS list_transform([turns_of_list(transcript)], lambda usual:
    CASE WHEN usual IS NULL OR len(list_filter(usual, lambda turn: turn.text IS NULL)) > 0 THEN turns_of_any(transcript) ELSE usual END)[1];

-- A transcript of any shape as one list of (speaker, text, timestamp_ms). NULL if there is none. The JSON may itself have
-- come as a text. The first character of stored JSON tells its kind without a parse.
CREATE OR REPLACE MACRO turns(transcript) AS
    CASE
        WHEN starts_with(transcript, '[') THEN turns_of_json(transcript)
        WHEN starts_with(transcript, '{') THEN turns_of_any(transcript)
        WHEN starts_with(transcript, '"')
        THEN CASE WHEN regexp_matches(transcript ->> '$', '^\s*[\[{]') AND json_valid(transcript ->> '$')
                  THEN turns_of_any(transcript ->> '$')
                  ELSE turns_of_text(transcript ->> '$') END
    END;

-- No statement reads the view, and other programs do not have its functions.
DROP VIEW IF EXISTS transcript_turns;

-- Seconds of a duration of at most a day. Another value is NULL.
CREATE OR REPLACE MACRO duration_to_seconds(duration) AS
    CASE WHEN coalesce(TRY_CAST(trim(duration::VARCHAR, ' "') AS DOUBLE), parse_duration(trim(duration::VARCHAR, ' "')) / 1e6) BETWEEN 0 AND 86400
         THEN round(coalesce(TRY_CAST(trim(duration::VARCHAR, ' "') AS DOUBLE), parse_duration(trim(duration::VARCHAR, ' "')) / 1e6))::INTEGER END;

-- All published calls are stale, because their turns may differ.
UPDATE clock SET unpublished = coalesce((SELECT json_group_object(key, seq) FROM (
    SELECT DISTINCT 'calls/' || strftime(created_at AT TIME ZONE 'UTC', '%Y-%m') AS key FROM calls
    UNION SELECT unnest(json_keys(unpublished)) FROM clock) AS stale), '{}');
