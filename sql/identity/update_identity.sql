-- Gives the store an identity, or another one.
UPDATE {{store}}.main.clock SET identity = {{identity}};
