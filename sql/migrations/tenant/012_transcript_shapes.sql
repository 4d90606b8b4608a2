-- Turns of a list of the usual shapes: {speaker, text}, {role, content} and {role, message, timestamp_ms}. A turn of another shape
-- has no speaker or no text.
CREATE OR REPLACE MACRO turns_of_list(transcript) AS list_transform(
    from_json(transcript, '[{"speaker":"VARCHAR","role":"VARCHAR","text":"VARCHAR","content":"VARCHAR","message":"VARCHAR","timestamp":"VARCHAR","timestamp_ms":"VARCHAR"}]'),
    lambda turn: {
        'speaker': speaker_name(coalesce(turn.speaker, turn.role)),
        'text': coalesce(turn.text, turn.content, turn.message),
        'timestamp_ms': TRY_CAST(coalesce(turn.timestamp_ms, turn.timestamp) AS BIGINT)});

-- Turns that the function parse_turns reads, which is slower and reads every shape.
CREATE OR REPLACE MACRO turns_of_any(transcript) AS list_transform(
    from_json(parse_turns(transcript::VARCHAR), '[{"speaker":"VARCHAR","text":"VARCHAR","timestamp_ms":"BIGINT"}]'),
    lambda turn: {'speaker': speaker_name(turn.speaker), 'text': turn.text, 'timestamp_ms': turn.timestamp_ms});

-- turns_of_list reads a list whose first turn is a usual one, and whose other turns have neither parts nor, after objects, texts.
-- Another list, and one with times that are not integers of milliseconds, takes the slower way.
CREATE OR REPLACE MACRO turns_of_json(transcript) AS
    CASE WHEN contains(transcript, ':[') OR contains(transcript, ':{') OR contains(transcript, '},"') THEN turns_of_any(transcript)
         WHEN regexp_matches(transcript, '^\[\{"(speaker|role)":"([^"\\]|\\.)*","(text|content|message)":"([^"\\]|\\.)*"\}') THEN turns_of_list(transcript)
         WHEN regexp_matches(transcript, '^\[\{"(speaker|role)":"([^"\\]|\\.)*","(text|content|message)":"([^"\\]|\\.)*","timestamp(_ms)?":[0-9]{1,8}\}')
              AND NOT regexp_matches(transcript, '"timestamp(_ms)?":("|[0-9]*[.eE])') THEN turns_of_list(transcript)
         ELSE turns_of_any(transcript) END;

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

-- Seconds of a duration as before. The function parse_duration reads the other forms, such as PT2M18S.
CREATE OR REPLACE MACRO duration_to_seconds(duration) AS TRY_CAST(round(coalesce(
    TRY_CAST(trim(duration::VARCHAR, ' "') AS DOUBLE),
    CASE WHEN regexp_full_match(trim(duration::VARCHAR, ' "'), '(\d+\s*h)?\s*(\d+\s*m)?\s*(\d+\s*s)?') AND trim(duration::VARCHAR, ' "') <> ''
         THEN TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*h', 1) AS DOUBLE) * 3600
            + TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*m', 1) AS DOUBLE) * 60
            + TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+)\s*s', 1) AS DOUBLE)
         WHEN regexp_full_match(trim(duration::VARCHAR, ' "'), '(\d+:)?\d{1,2}:\d{2}')
         THEN TRY_CAST('0' || regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+):\d+:', 1) AS DOUBLE) * 3600
            + TRY_CAST(regexp_extract(trim(duration::VARCHAR, ' "'), '(\d+):\d+$', 1) AS DOUBLE) * 60
            + TRY_CAST(regexp_extract(trim(duration::VARCHAR, ' "'), '\d+$') AS DOUBLE)
    END,
    CASE WHEN duration IS NOT NULL THEN parse_duration(trim(duration::VARCHAR, ' "')) / 1e6 END)) AS INTEGER);

-- All published calls are stale, because their turns may differ.
UPDATE clock SET unpublished = coalesce((SELECT json_group_object(key, seq) FROM (
    SELECT DISTINCT 'calls/' || strftime(created_at AT TIME ZONE 'UTC', '%Y-%m') AS key FROM calls
    UNION SELECT unnest(json_keys(unpublished)) FROM clock) AS stale), '{}');
