-- What a relation of a query reads is a text that it looks up.
SET VARIABLE {{source}} = {{text}};
