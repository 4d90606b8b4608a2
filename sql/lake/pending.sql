-- What is to be published, and a time before which every commit is seen by whoever reads from now on.
SELECT dataset, month, max(seq), now() FROM unpublished GROUP BY dataset, month ORDER BY dataset, month;
