-- Some rows of a Parquet file with their numbers, counted from 1.
SELECT file_row_number + 1 AS line, {{row}} AS loose_row FROM {{relation}} AS loose_row WHERE file_row_number BETWEEN {{first}} AND {{last}}
