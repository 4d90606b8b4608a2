-- A commit takes a number, and one more for every 2,048 rows: DuckDB reads as many at once, so that a page of the feed, which has
-- rows of few numbers, is read from one place of the table. Beside it stands what the lake must be told of.
UPDATE {{store}}.clock SET seq = {{next}}, unpublished = json_merge_patch(unpublished, json_object({{touched}}));
