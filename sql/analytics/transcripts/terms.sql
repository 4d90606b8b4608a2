-- What calls speak of: the words that most of them have, for each period and group, or of all where there are none.
--   term           letters, marks and digits of any script, with apostrophes between, in lower case; with a letter at least
--   calls, share   those whose transcript has it; of those that have a transcript. Words that more than a given share of them have are
--                  left out: they are said whatever is spoken of
--   occurrences    how often it is said
WITH terms AS (
    SELECT {{keys}}, unnest(map_keys(words)) AS term, unnest(map_values(words)) AS times
    -- Every transcript has the empty word, which so counts them.
    FROM (SELECT {{columns}} list_histogram(list_append(regexp_extract_all(lower(list_aggregate(list_transform(transcript, lambda turn: turn.text), 'string_agg', ' ')),
                     '[\p{L}\p{M}\p{N}]+(?:[''’][\p{L}\p{M}\p{N}]+)*'), '')) AS words
          FROM (SELECT * REPLACE (replace(status, '_', '-') AS status), {{local}} AS local FROM ({{rows}}))
          WHERE len(transcript) > 0))
SELECT {{keys}}, term, calls, calls / transcripts AS share, occurrences
FROM (SELECT *, max(calls) FILTER (term = '') OVER (PARTITION BY {{keys}}) AS transcripts
      FROM (SELECT {{keys}}, term, count(*) AS calls, sum(times)::BIGINT AS occurrences FROM terms GROUP BY ALL))
WHERE calls <= {{share}} * transcripts AND regexp_matches(term, '\p{L}')
QUALIFY row_number() OVER (PARTITION BY {{keys}} ORDER BY calls DESC, term) <= {{terms}}
