-- Figures as JSON, one object per row with the period, the group and the figures, in order. They are converted to JSON before the
-- ORDER BY, because the final projection runs on one thread.
SELECT object
FROM (SELECT *, to_json(answer)::VARCHAR AS object
      FROM (SELECT {{period}} AS period, {{group}} AS "group", * EXCLUDE ({{keys}}) FROM ({{figures}})) AS answer LIMIT {{most}})
ORDER BY period NULLS LAST, "group" NULLS LAST{{order}};
