-- Replaces all epochs by one, which begins before the first commit.
DELETE FROM epochs;
INSERT INTO epochs VALUES (0, $epoch::UUID);
