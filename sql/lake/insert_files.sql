-- Inserts the new published files. A partition without rows has no file.
INSERT INTO published_files BY NAME
SELECT *, $at AS published_at FROM (SELECT unnest(from_json($files, '[{"export": "VARCHAR", "month": "VARCHAR", "day": "VARCHAR", "source_seq": "BIGINT", "name": "VARCHAR", "rows": "BIGINT", "bytes": "BIGINT", "sha256": "VARCHAR", "format": "INTEGER",
    "min_created_at": "TIMESTAMPTZ", "max_created_at": "TIMESTAMPTZ", "as_of": "TIMESTAMPTZ"}]'), recursive := true)) WHERE rows > 0;
