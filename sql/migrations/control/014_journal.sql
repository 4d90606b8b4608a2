-- A copy of the lines of journal.ndjson. Either of them alone has every fact.
CREATE TABLE journal (
    line VARCHAR NOT NULL
);
