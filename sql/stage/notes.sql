-- Selects the notes on the suspicious rows that were accepted, and the number of rows of each.
SELECT note, count(*) FROM (SELECT unnest([
    {{notes}}]) AS note FROM staged WHERE suspect IS NOT NULL AND raw IS NULL)
WHERE note IS NOT NULL GROUP BY note ORDER BY note;
