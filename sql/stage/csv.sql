-- The rows of a CSV file, with their lines: the header is the first. A line is exact as long as no value before it holds a line break.
SELECT row_number() OVER () + 1 AS line, {{row}} AS loose_row FROM {{relation}} AS loose_row
