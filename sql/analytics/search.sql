-- The calls with matching turns and their number of matching turns, and the totals of matching calls and turns.
SELECT call_id, first(created_at) AS created_at, count(*) AS matches, count(*) OVER () AS calls, sum(count(*)) OVER ()::BIGINT AS turns
FROM ({{turns}})
WHERE {{condition}}
GROUP BY call_id
ORDER BY {{order}}
LIMIT $limit OFFSET $offset;
