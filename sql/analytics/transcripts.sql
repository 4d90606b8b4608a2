-- What was said in calls: for each period and group, or as one row where there are none.
--   calls, transcripts       all of them; those with a turn that holds a word
--   empty_share              of the completed calls, those without such a turn; NULL where none is completed
--   turns, words             a word is what stands between white space, as in the published turns
--   ai_words, caller_words, ai_word_share    the share is of the words of both
--   ai_time_share            where turns have times: a turn lasts until the next begins, and the last counts for nobody
--   longest_pause_seconds    from the beginning of one turn to that of the next: where turns end is not known, so that silence and speech
--                            cannot be told apart
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
                       'speaker': turn.speaker, 'ms': turns[i + 1].timestamp_ms - turn.timestamp_ms,
                       'words': len(list_filter(string_split(translate(turn.text,
                           chr(9) || chr(10) || chr(13) || chr(160) || chr(8239) || chr(12288), '      '), ' '), lambda word: word <> ''))}) AS said
            FROM (SELECT * EXCLUDE (transcript) REPLACE (replace(status, '_', '-') AS status), {{local}} AS local, transcript AS turns
                  FROM ({{rows}}))))
{{grouping}}
