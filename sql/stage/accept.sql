-- Accepts the suspicious rows that have no reason to be refused.
UPDATE staged SET raw = NULL WHERE suspect IS NOT NULL AND reason IS NULL;
