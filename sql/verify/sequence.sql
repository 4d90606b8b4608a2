-- Selects the faults of the change feed: the number of the last commit is missing, rows and tombstones have a number that
-- no commit had, or epochs begin together or after the last commit. Numbers without a row are no fault: a row keeps only
-- the number of its last change.
WITH numbered AS (
    SELECT _seq FROM calls UNION ALL SELECT _seq FROM customers UNION ALL SELECT _seq FROM messages UNION ALL SELECT _seq FROM tombstones
)
SELECT fault FROM (
    SELECT unnest([
        CASE WHEN (SELECT count(*) FROM clock) <> 1 THEN 'the number of the last commit is missing' END,
        CASE WHEN (SELECT count(*) FROM numbered WHERE _seq NOT BETWEEN 1 AND (SELECT max(seq) FROM clock)) > 0
             THEN 'rows have numbers that no commit had' END,
        CASE WHEN (SELECT count(*) <> count(DISTINCT first_seq) FROM epochs) THEN 'several epochs begin with one commit' END,
        CASE WHEN (SELECT count(*) FROM epochs WHERE first_seq > (SELECT max(seq) FROM clock)) > 0
             THEN 'an epoch begins after the last commit' END]) AS fault)
WHERE fault IS NOT NULL;
