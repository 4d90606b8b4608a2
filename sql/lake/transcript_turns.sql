-- The published turns, derived from the published calls and in their order. Sorting the calls costs half as much as
-- sorting the turns. Words are separated by white space: blanks, tabs, line breaks, no-break (160, 8239) and
-- ideographic (12288) spaces. A regular expression would find more kinds of words, but would take several times as long
-- as the rest of the statement. timestamp_ms is a point in time if it is too large for an offset (after March 1973),
-- otherwise an offset.
SELECT call_id, turn::INTEGER AS turn, said.speaker AS speaker, said.text AS text, length(said.text) AS chars,
       len(list_filter(string_split(
           CASE WHEN contains(said.text, chr(9)) OR contains(said.text, chr(10)) OR contains(said.text, chr(13))
                  OR contains(said.text, chr(160)) OR contains(said.text, chr(8239)) OR contains(said.text, chr(12288))
                THEN translate(said.text, chr(9) || chr(10) || chr(13) || chr(160) || chr(8239) || chr(12288), '      ')
                ELSE said.text END, ' '), lambda word: word <> '')) AS words,
       CASE WHEN said.timestamp_ms >= 100000000000 THEN said.timestamp_ms - epoch_ms(started_at) ELSE said.timestamp_ms END AS offset_ms,
       created_at, assistant_id, direction, status
FROM (SELECT id AS call_id, unnest(transcript) AS said, generate_subscripts(transcript, 1) AS turn, started_at, created_at, assistant_id, direction, status
      FROM {{calls}})
