-- Replaces all epochs of the change feed by a new one, so that no earlier position is valid.
DELETE FROM epochs;
INSERT INTO epochs SELECT 0, uuid();
