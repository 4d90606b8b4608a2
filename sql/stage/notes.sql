-- Selects the notes on the suspicious rows that are not refused, and the number of rows of each.
SELECT note, count(*) FROM (SELECT unnest([
    {{notes}}]) AS note FROM suspects JOIN staged ON suspects.line = staged.rowid WHERE reason IS NULL)
WHERE note IS NOT NULL GROUP BY note ORDER BY note;
