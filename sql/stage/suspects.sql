-- Parses the suspicious rows again, for the statements that decide about them. The table staged does not keep untyped
-- values, because they would double the columns of each batch.
CREATE OR REPLACE TEMP TABLE suspects AS SELECT * EXCLUDE (raw, unknown, tenant) FROM ({{untyped}});
