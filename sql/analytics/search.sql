-- The calls that have turns with what is searched for: how many such turns each has, and how many calls and turns there are in all.
SELECT call_id, first(created_at) AS created_at, count(*) AS matches, count(*) OVER () AS calls, sum(count(*)) OVER ()::BIGINT AS turns
FROM ({{turns}})
WHERE {{condition}}
GROUP BY call_id
ORDER BY {{order}}
LIMIT $limit OFFSET $offset;
