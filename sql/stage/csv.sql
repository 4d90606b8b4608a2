-- Reads a CSV file with line numbers; the header is line 1. The numbers are exact unless an earlier value contains a
-- line break.
SELECT row_number() OVER () + 1 AS line, {{row}} AS loose_row FROM {{relation}} AS loose_row
