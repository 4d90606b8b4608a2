-- A deletion that was inferred from the absence of a row is not a dated fact: deleted_at is when the absence was seen,
-- and any row of that id that arrives later is alive again. The deletions stored so far count as explicit ones.
ALTER TABLE tombstones ADD COLUMN inferred BOOLEAN DEFAULT false;
