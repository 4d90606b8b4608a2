-- Accepts the suspicious rows that have no reason to be refused.
UPDATE staged SET raw = NULL WHERE raw IS NOT NULL AND reason IS NULL;
