-- Selects the number of the last commit and the datasets that have tombstones.
SELECT seq, coalesce((SELECT string_agg(DISTINCT dataset, ',') FROM tombstones), '') FROM clock;
