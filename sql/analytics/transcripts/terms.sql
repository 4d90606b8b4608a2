-- The most frequent words of transcripts, for each period and group, or in total if there are no groups.
--   term           letters, marks and digits of any script, with apostrophes inside, in lower case; at least one letter
--   calls, share   number of calls whose transcript contains the term, and their share of the calls with a transcript. Terms above
--                  the maximum share are omitted, because they occur whatever the topic is
--   occurrences    number of occurrences
WITH terms AS (
    SELECT {{keys}}, unnest(map_keys(words)) AS term, unnest(map_values(words)) AS times
    -- The empty term is added to every transcript, so that its count is the number of transcripts.
    FROM (SELECT {{columns}} list_histogram(list_append(regexp_extract_all(lower(list_aggregate(list_transform(transcript, lambda turn: turn.text), 'string_agg', ' ')),
                     '[\p{L}\p{M}\p{N}]+(?:[''’][\p{L}\p{M}\p{N}]+)*'), '')) AS words
          FROM (SELECT * REPLACE (replace(status, '_', '-') AS status), {{local}} AS local FROM ({{rows}}))
          WHERE len(transcript) > 0))
SELECT {{keys}}, term, calls, calls / transcripts AS share, occurrences
FROM (SELECT *, max(calls) FILTER (term = '') OVER (PARTITION BY {{keys}}) AS transcripts
      FROM (SELECT {{keys}}, term, count(*) AS calls, sum(times)::BIGINT AS occurrences FROM terms GROUP BY ALL))
WHERE calls <= {{share}} * transcripts AND regexp_matches(term, '\p{L}')
QUALIFY row_number() OVER (PARTITION BY {{keys}} ORDER BY calls DESC, term) <= {{terms}}
