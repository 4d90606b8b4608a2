-- The publication that each published file came with. A file is part of the snapshots of its table from published_at until
-- replaced_at. The history of snapshots begins with this script: files that were replaced before are in none.
ALTER TABLE published_files ADD COLUMN published_at TIMESTAMPTZ DEFAULT now();
