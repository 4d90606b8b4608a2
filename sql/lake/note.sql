-- The file that the lake shows from now on.
INSERT INTO published_files VALUES ($export, $month, $name, $rows, $bytes, $sha256, $min_created_at, $max_created_at, $as_of, NULL);
