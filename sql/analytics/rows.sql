-- Figures as JSON, one object for each row: the period, what it is grouped by, then the figures. In their order.
SELECT to_json(answer)::VARCHAR
FROM (SELECT {{period}} AS period, {{group}} AS "group", * EXCLUDE ({{keys}}) FROM ({{figures}}) LIMIT {{most}}) AS answer
ORDER BY answer.period NULLS LAST, answer."group" NULLS LAST{{order}};
