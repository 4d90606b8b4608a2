-- How far sources are with this tenant's rows: written with the rows, in one transaction.
CREATE TABLE source_states (
    source VARCHAR NOT NULL,
    state  JSON NOT NULL
);
