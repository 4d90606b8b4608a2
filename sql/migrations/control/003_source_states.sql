-- How far sources are that bring the rows of many tenants: written once all of a batch are merged.
CREATE TABLE source_states (
    source VARCHAR NOT NULL,
    state  JSON NOT NULL
);
