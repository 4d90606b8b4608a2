-- The number of this commit, and what the lake must be told of because of it.
UPDATE {{store}}.clock SET seq = {{seq}}, unpublished = json_merge_patch(unpublished, {{touched}});
