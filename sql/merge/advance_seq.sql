-- Sets the sequence number of this commit and adds the partitions that it made stale.
UPDATE {{store}}.clock SET seq = {{seq}}, unpublished = json_merge_patch(unpublished, {{touched}});
