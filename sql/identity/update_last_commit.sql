-- Identifies this write transaction.
UPDATE {{store}}.main.clock SET last_commit = {{commit}};
