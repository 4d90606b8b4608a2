-- Figures of transcripts, for each period and group; one row if there are no groups.
--   calls, transcripts       number of calls, and of calls with at least one word.
--   empty_share              share of the completed calls without a word; NULL if there are no completed calls.
--   turns, words             words are separated by white space, as in the export transcript_turns.
--   ai_words, caller_words, ai_word_share    words of both sides, and the share of the AI in them.
--   ai_time_share            over turns with times: a turn lasts until the next one starts, and the last turn is ignored.
--   longest_pause_seconds    longest time from the start of a turn to the start of the next. The end of a turn is unknown, so this
--                            includes speech
-- The time between two turns is a HUGEINT, because two BIGINTs may be further apart than the largest BIGINT.
SELECT {{columns}}
       count(*) AS calls, count(*) FILTER (words > 0) AS transcripts,
       count(*) FILTER (status = 'completed' AND words = 0) / nullif(count(*) FILTER (status = 'completed'), 0) AS empty_share,
       coalesce(sum(len(said)), 0)::BIGINT AS turns, coalesce(sum(words), 0)::BIGINT AS words,
       coalesce(sum(ai_words), 0)::BIGINT AS ai_words, coalesce(sum(caller_words), 0)::BIGINT AS caller_words,
       sum(ai_words)::DOUBLE / nullif(sum(ai_words) + sum(caller_words), 0) AS ai_word_share,
       sum(ai_ms)::DOUBLE / nullif(sum(ai_ms) + sum(caller_ms), 0) AS ai_time_share,
       max(longest_ms) / 1000 AS longest_pause_seconds
FROM (SELECT *,
             coalesce(list_sum(list_transform(said, lambda turn: turn.words)), 0) AS words,
             coalesce(list_sum(list_transform(list_filter(said, lambda turn: turn.speaker = 'AI'), lambda turn: turn.words)), 0) AS ai_words,
             coalesce(list_sum(list_transform(list_filter(said, lambda turn: turn.speaker = 'Caller'), lambda turn: turn.words)), 0) AS caller_words,
             coalesce(list_sum(list_transform(list_filter(said, lambda turn: turn.speaker = 'AI' AND turn.ms >= 0), lambda turn: turn.ms)), 0) AS ai_ms,
             coalesce(list_sum(list_transform(list_filter(said, lambda turn: turn.speaker = 'Caller' AND turn.ms >= 0), lambda turn: turn.ms)), 0) AS caller_ms,
             list_max(list_transform(said, lambda turn: CASE WHEN turn.ms >= 0 THEN turn.ms END)) AS longest_ms
      FROM (SELECT * EXCLUDE (turns), list_transform(turns, lambda turn, i: {
                       'speaker': turn.speaker, 'ms': turns[i + 1].timestamp_ms::HUGEINT - turn.timestamp_ms,
                       'words': len(list_filter(string_split(translate(turn.text,
                           chr(9) || chr(10) || chr(13) || chr(160) || chr(8239) || chr(12288), '      '), ' '), lambda word: word <> ''))}) AS said
            FROM (SELECT * EXCLUDE (transcript) REPLACE (replace(status, '_', '-') AS status), {{local}} AS local, transcript AS turns
                  FROM ({{rows}}))))
{{grouping}}
