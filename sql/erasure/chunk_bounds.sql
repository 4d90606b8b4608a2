-- Selects the place of each row that ends a chunk of {{chunk}} rows, and of the last row of the table.
SELECT place FROM (SELECT rowid AS place, row_number() OVER (ORDER BY rowid) AS number, count(*) OVER () AS rows FROM {{table}})
WHERE number % {{chunk}} = 0 OR number = rows ORDER BY place;
