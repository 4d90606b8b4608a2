-- Figures as JSON, one object for each row: the period, what it is grouped by, then the figures. In their order. They become JSON before they
-- are brought together, for which there is but one thread.
SELECT object
FROM (SELECT *, to_json(answer)::VARCHAR AS object
      FROM (SELECT {{period}} AS period, {{group}} AS "group", * EXCLUDE ({{keys}}) FROM ({{figures}})) AS answer LIMIT {{most}})
ORDER BY period NULLS LAST, "group" NULLS LAST{{order}};
