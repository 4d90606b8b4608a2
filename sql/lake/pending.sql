SELECT dataset, month, max(seq) FROM unpublished GROUP BY dataset, month ORDER BY dataset, month;
