-- What became of the last run of each source, as the operator is shown it.
CREATE TABLE source_runs (
    source VARCHAR NOT NULL,
    run    JSON NOT NULL
);
