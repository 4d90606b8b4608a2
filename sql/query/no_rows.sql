-- What a relation of a query reads while its export has no file.
SELECT {{columns}} WHERE false
