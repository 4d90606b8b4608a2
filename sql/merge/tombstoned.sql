-- The datasets that have tombstones.
SELECT DISTINCT dataset FROM tombstones;
